"""The hop through public DNS."""
