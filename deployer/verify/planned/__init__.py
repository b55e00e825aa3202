"""Which checks a site gets."""
