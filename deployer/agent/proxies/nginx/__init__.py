"""nginx on a host."""
