"""What the controller knows about proxies."""
