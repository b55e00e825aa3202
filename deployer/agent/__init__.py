"""The program that runs on hosts: Python 3.8 and the standard library only."""
