"""Ansible's settings: ``ansible.cfg`` and the environment."""
