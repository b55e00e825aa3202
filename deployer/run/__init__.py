"""One command over many hosts."""
