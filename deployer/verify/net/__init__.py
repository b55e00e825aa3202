"""Streams, TLS, HTTP and WebSocket: bytes only."""
