"""The hosts and tags of each play, found without contacting a host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from deployer.model import Host, Play
from deployer.playbook.render.tags import selected
from deployer.run.check import task_tags
from deployer.run.project import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayListing:
    """One play: the names of its hosts within ``--limit``, and its tags."""

    name: str
    pattern: str
    hosts: tuple[str, ...]
    tags: tuple[str, ...] = ()


def listings(project: Project, *, with_tags: bool) -> list[PlayListing]:
    """The plays of `project`, in order.

    Raises:
        UsageError: with `with_tags`, all errors in the sites of a play.
    """
    return [
        PlayListing(
            name=play.name,
            pattern=play.hosts,
            hosts=tuple(host.name for host in hosts),
            tags=tuple(sorted(_tags(project, play, hosts))) if with_tags else (),
        )
        for play, hosts in project.plays()
    ]


def _tags(project: Project, play: Play, hosts: tuple[Host, ...]) -> set[str]:
    """The tags of tasks, roles and sites, regardless of the conditions of tasks."""
    written = {
        tag
        for tags in _written(play)
        if selected(tags, wanted=project.tags, skipped=project.skip_tags)
        for tag in tags
    }
    return written | task_tags(project, play, hosts)


def _written(play: Play) -> Iterator[frozenset[str]]:
    for task in play.tasks:
        yield task.tags | play.tags
    for role in play.roles:
        for task in role.tasks:
            yield task.tags | role.tags | play.tags
