"""The keys of the playbook language, their types and their checks."""
