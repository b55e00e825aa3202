"""One commit on a host: its records, its changes, and its revert."""
