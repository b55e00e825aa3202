"""Jinja2 templates, their filters and their sandbox."""
