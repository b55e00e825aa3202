"""The playbook language: inventories, playbooks, roles and variables; every error has a position.

Only this package converts text to typed values: `load_inventory` and `load_playbook` read and check
everything that does not depend on a host, `render_host` renders it for one host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.model import Value
from deployer.playbook.playbook import (
    Playbook,
    Plays,
    Rendered,
    RenderedTask,
    RenderOptions,
    RoleCall,
    SiteRoles,
)

if TYPE_CHECKING:
    from deployer.errors import UsageError
    from deployer.model import Host
    from deployer.playbook.ansible_cfg.settings import AnsibleSettings
    from deployer.playbook.inventory.load import Inventory

__all__ = [
    "Playbook",
    "Plays",
    "RenderOptions",
    "Rendered",
    "RenderedTask",
    "RoleCall",
    "json_schema",
    "load_inventory",
    "load_playbook",
    "load_settings",
    "missing_file",
    "parse_extra_vars",
    "render_host",
]

_ALL_TASKS = RenderOptions()


def missing_file(path: Path, *, what: str) -> UsageError:
    """The error for a file that does not exist, with the nearest name."""
    from deployer.playbook.yaml import file

    return file.missing_file(path, what=what)


def load_inventory(
    paths: Sequence[Path],
    *,
    playbook_folder: Path | None = None,
    extra_vars: Mapping[str, Value] | None = None,
) -> Inventory:
    """Read inventories in Ansible's YAML or INI format, with the variables in folders next to them.

    Args:
        playbook_folder: its ``group_vars/`` and ``host_vars/`` are also read.
        extra_vars: variables of ``-e``; connection variables such as ``ansible_user`` apply to
            every host.

    Raises: UsageError, SourceErrors.
    """
    from deployer.playbook.inventory import load as inventory_load

    return inventory_load.load_inventory(
        paths, playbook_folder=playbook_folder, extra_vars=extra_vars
    )


def load_settings() -> AnsibleSettings:
    """Ansible's settings that are in effect; vaults are unlocked with their passwords.

    Raises: UsageError, SourceErrors.
    """
    from deployer.playbook.ansible_cfg import settings as ansible_settings
    from deployer.playbook.yaml import vault

    settings = ansible_settings.load_settings()
    vault.unlock(map(vault.password_from, settings.vault_password_files))
    return settings


def load_playbook(
    path: Path,
    *,
    inventory: Inventory | None,
    extra_vars: Mapping[str, object] | None = None,
    role_paths: Sequence[Path] = (),
    become: bool = False,
) -> Playbook:
    """Read a playbook and all files that it refers to, and check what does not depend on a host.

    `become` is the default for plays that do not set it.

    Raises: UsageError, SourceErrors.
    """
    from deployer.playbook.load import playbook

    return playbook.load_playbook(
        path, inventory=inventory, extra_vars=extra_vars, role_paths=role_paths, become=become
    )


def parse_extra_vars(args: Iterable[str]) -> dict[str, object]:
    """The variables of ``-e`` options: ``k=v``, JSON or YAML mappings, ``@file``.

    Raises: UsageError.
    """
    from deployer.playbook.load import extra_vars

    return extra_vars.parse_extra_vars(args)


def render_host(
    plays: Plays,
    host: Host,
    *,
    inventory: Inventory,
    facts: Mapping[str, object],
    site_roles: SiteRoles,
    options: RenderOptions = _ALL_TASKS,
) -> Rendered:
    """Render the plays whose pattern matches a host, from a playbook or a list of plays.

    Args:
        facts: the host's facts under Ansible's names; never rendered as templates.
        site_roles: returns the roles that the host's sites need; of a host without sites, they
            are asked for once.

    Raises: SourceErrors, with all errors for this host.
    """
    from deployer.playbook.render import host as of_host

    return of_host.render(
        plays,
        host,
        inventory=inventory,
        facts=facts,
        site_roles=site_roles,
        options=options,
    )


def json_schema() -> dict[str, object]:
    """The JSON Schema (2020-12) of a playbook, for editors."""
    from deployer.playbook.schema import jsonschema

    return jsonschema.json_schema()
