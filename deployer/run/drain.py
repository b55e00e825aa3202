"""`deployer drain` on one host: the tasks that it runs."""

from __future__ import annotations

from dataclasses import replace

from deployer.run.project import Project
from deployer.sites.drains import Drain


def only_drain(project: Project, wanted: Drain) -> Project:
    """`project` limited to the tasks of sites, with a change of what is drained."""
    return replace(project, tags=frozenset({"sites"}), skip_tags=frozenset(), drain=wanted)
