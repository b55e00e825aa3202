"""How many WebSocket connections a host carries, and what ends it: a measured load.

frames.py, connection.py   one connection, lean enough for thousands
crowd.py                   many of them: opened at a bounded rate, held, pinged, closed
figures.py, result.py      what came of them (pure)
limits.py, reloads.py      what the proxy allows, and what became of its processes (pure)
judge.py, losses.py        → a check, with the limit that was met (pure)
run.py                     one host: what is loaded, and looked at meanwhile
"""
