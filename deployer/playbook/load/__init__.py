"""Read playbooks and roles, and check them without a host."""
