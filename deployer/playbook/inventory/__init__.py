"""Inventories: hosts, groups, patterns, variables."""
