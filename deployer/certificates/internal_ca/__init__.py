"""The internal CA: its store, and the certificates that it signs."""
