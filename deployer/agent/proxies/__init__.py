"""Proxies on a host: their configurations, connections, and what can be seen of them."""
