"""Proxies on a host: configurations, connections, logs and processes."""
