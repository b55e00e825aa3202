"""Certificates on a host: orders, renewal, and what is in use."""
