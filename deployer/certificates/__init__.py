"""Certificates on the controller: ACME, the internal CA, status and schedule."""
