"""certbot: its command line, and what its output and its log mean."""
