"""Deploy WebSocket services behind a reverse proxy, as commits that a real handshake confirms."""

__version__ = "0.1.0"
