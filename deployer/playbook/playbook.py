"""The results of loading and of rendering a playbook, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.model import Play, SourceRef, Value
from deployer.sites.model import Site

if TYPE_CHECKING:
    from deployer.playbook.load.library import Library, LoadedPlay


@dataclass(frozen=True, slots=True, kw_only=True)
class Playbook:
    """A playbook that was read and checked; each of its `plays` is a `Play`."""

    path: Path
    plays: tuple[LoadedPlay, ...]
    library: Library = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleCall:
    """A role that a host's sites require; its `vars` are values, never rendered as templates.

    All of its tasks belong to one `stage` of the commit.
    """

    role: str
    vars: Mapping[str, Value] = field(default_factory=dict)
    stage: int = 0
    source: SourceRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderOptions:
    """Command line options that affect the rendering.

    `extra_vars` take precedence over all other variables; `None` means those given to the load.
    Without `tags`, all tasks except those tagged ``never`` are rendered; tasks with one of
    `skip_tags` are left out.
    """

    extra_vars: Mapping[str, object] | None = None
    tags: frozenset[str] | None = None
    skip_tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedTask:
    """A task or handler for one host: canonical `args` with every template rendered.

    `notify` are names of `Rendered.handlers`. The arguments of a `secret` task are never shown.
    `origin` identifies the task in its playbook, and `site` is the domain of the site that it
    serves. What an `absent` task names should be removed.
    """

    name: str
    module: str
    args: Mapping[str, Value]
    notify: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    no_log: bool = False
    secret: bool = False
    stage: int = 0
    source: SourceRef | None = None
    origin: str = ""
    site: str = ""
    absent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A playbook rendered for one host.

    `displaces` are names of others that the host may stop serving; `secrets` are texts that must
    never be shown.

    `skipped` are the origins of tasks whose conditions exclude this host, at least for some items.
    `absent_sites` are the domains of sites with ``state: absent``.
    """

    tasks: tuple[RenderedTask, ...]
    handlers: tuple[RenderedTask, ...]
    sites: tuple[Site, ...]
    displaces: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()
    skipped: frozenset[str] = frozenset()
    absent_sites: frozenset[str] = frozenset()


SiteRoles = Callable[[tuple[Site, ...]], Sequence[RoleCall]]
Plays = Playbook | Play | Sequence[Play]
