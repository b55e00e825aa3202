"""A folder with a playbook, to be rendered for one host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deployer.playbook import (
    Rendered,
    RenderOptions,
    RoleCall,
    load_inventory,
    load_playbook,
    render_host,
)

FACTS = {
    "ansible_distribution": "Debian",
    "ansible_fqdn": "web1.example.com",
    "ansible_default_ipv4": {"address": "10.0.0.1"},
}


class Project:
    """A folder with a playbook, an inventory and the files that they refer to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write({"hosts.yml": "web: {hosts: {web1: {ansible_host: 10.0.0.9}, web2: }}"})

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def render(
        self,
        playbook: str,
        *,
        extra_vars: Mapping[str, Any] | None = None,
        tags: frozenset[str] | None = None,
        skip_tags: frozenset[str] = frozenset(),
        roles: Sequence[RoleCall] = (),
        facts: Mapping[str, Any] = FACTS,
    ) -> Rendered:
        self.write({"site.yml": playbook})
        inventory = load_inventory([self.folder / "hosts.yml"])
        loaded = load_playbook(
            self.folder / "site.yml", inventory=inventory, extra_vars=extra_vars or {}
        )
        return render_host(
            loaded,
            inventory.hosts["web1"],
            inventory=inventory,
            facts=facts,
            options=RenderOptions(tags=tags, skip_tags=skip_tags),
            site_roles=lambda sites: roles,
        )

    def value(self, expression: str, variables: str = "{}", **more: Any) -> Any:
        """The value of an expression, as the content of a copied file."""
        text = f"- hosts: web\n  vars: {variables}\n  tasks:\n    - copy:\n        dest: /x\n"
        text += f"        content: >-\n          {expression}\n"
        content = self.render(text, **more).tasks[0].args["content"]
        return content.decode()
