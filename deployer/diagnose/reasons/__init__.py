"""Derive causes from symptoms, as far as they are visible from outside."""
