"""The real Ansible, in an environment of its own: `make ansible`."""

from __future__ import annotations

from pathlib import Path

#: Its Python; next to it are the programs ``ansible``, ``ansible-inventory`` and others.
ANSIBLE_PYTHON = str(Path(__file__).parents[2] / ".venv/ansible/bin/python")
