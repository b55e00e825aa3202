"""Measure how many WebSocket connections a host carries, and find the limit.

frames.py, connection.py   one connection, small enough for thousands
generator.py               opens many at a bounded rate, holds, pings and closes them
figures.py, result.py      the measured figures (pure)
reloads.py                 changes of the proxy's processes (pure)
judge.py, losses.py        figures in, a check with the limit out (pure)
open_files.py              raises this process's own limit of open files
run.py                     loads the sites of one host, and inspects the proxy meanwhile
"""
