"""What a load hands out, and what a rendering does. Nothing here needs more than the core types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.model import Play, SourceRef
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
    """A role that a host's sites bring in; its `vars` are values, never rendered as templates.

    All that it does belongs to one `stage` of the commit.
    """

    role: str
    vars: Mapping[str, Any] = field(default_factory=dict)
    stage: int = 0
    source: SourceRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderOptions:
    """What the command line says about a rendering.

    `extra_vars` win over all other variables; `None` for those given to the load. Without `tags`,
    every task is rendered but those tagged ``never``; those with one of `skip_tags` are left out.
    """

    extra_vars: Mapping[str, Any] | None = None
    tags: frozenset[str] | None = None
    skip_tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedTask:
    """A task or handler for one host: canonical `args` with every template rendered.

    `notify` are names of `Rendered.handlers`. A `secret` task's arguments are never shown.
    """

    name: str
    module: str
    args: Mapping[str, Any]
    notify: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    no_log: bool = False
    secret: bool = False
    stage: int = 0
    source: SourceRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What a playbook says for one host. `secrets` are texts that must never be shown anywhere."""

    tasks: tuple[RenderedTask, ...]
    handlers: tuple[RenderedTask, ...]
    sites: tuple[Site, ...]
    secrets: frozenset[str] = frozenset()


SiteRoles = Callable[[tuple[Site, ...]], Sequence[RoleCall]]
Plays = Playbook | Play | Sequence[Play]
