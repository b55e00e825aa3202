"""Find the WebSocket of a whole site, whose route does not say where it is."""
