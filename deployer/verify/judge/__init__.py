"""What the attempts mean. Pure."""
