"""One attempt: what to do, doing it, and its outcome."""
