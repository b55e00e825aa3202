"""HAProxy on a host."""
