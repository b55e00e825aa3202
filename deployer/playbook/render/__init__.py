"""Render a playbook for one host."""
