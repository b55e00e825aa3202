"""What a playbook means for one host."""
