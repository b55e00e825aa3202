"""How many WebSocket connections a host carries, and what ends it: a measured load.

frames.py, connection.py   one connection, lean enough for thousands
crowd.py                   many of them: opened at a bounded rate, held, pinged, closed
figures.py                 what came of them (pure)
"""
