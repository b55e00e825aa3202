"""Reading playbooks and roles, and checking them without a host."""
