"""Plan the checks of a site."""
