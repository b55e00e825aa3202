"""Apache on a host."""
