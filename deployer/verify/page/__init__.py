"""Find the WebSockets that a page opens."""
