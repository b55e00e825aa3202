"""Pages, and the WebSockets that they open."""
