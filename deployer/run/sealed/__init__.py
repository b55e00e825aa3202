"""A plan as a signed file."""
