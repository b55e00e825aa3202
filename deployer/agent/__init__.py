"""The program that works on a host: Python 3.8 and the standard library alone."""
