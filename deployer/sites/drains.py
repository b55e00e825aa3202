"""Upstreams out of rotation: they get no new connections, and keep those that are open. Pure.

A host remembers them with its inventory, by site. What is drained stays so in later runs, until
``deployer drain --end`` or until the playbook no longer has the upstream.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from deployer.errors import UsageError
from deployer.sites.model import Route, Site, Upstream

#: Upstreams as text, by the domain of their site.
Drained = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """A request to take an upstream out of rotation, or with `ends` to return it."""

    upstream: str
    ends: bool = False

    def __str__(self) -> str:
        return f"{'end the drain of' if self.ends else 'drain'} {self.upstream}"


def with_drained(sites: Iterable[Site], drained: Drained) -> tuple[Site, ...]:
    """`sites` whose `drained` upstreams get no new connections.

    A route whose upstreams are all listed keeps them: it has no others.
    """
    return tuple(
        replace(site, routes=tuple(_with_drained(route, set(listed)) for route in site.routes))
        if (listed := drained.get(site.domain))
        else site
        for site in sites
    )


def _with_drained(route: Route, listed: Collection[str]) -> Route:
    upstreams = tuple(replace(each, drained=str(each) in listed) for each in route.upstreams)
    return replace(route, upstreams=upstreams) if _serves(upstreams) else route


def _serves(upstreams: Iterable[Upstream]) -> bool:
    return not all(each.drained for each in upstreams)


def drained_in(sites: Iterable[Site]) -> dict[str, list[str]]:
    """The drained upstreams of each site."""
    return {site.domain: sorted(_texts(site, only_drained=True)) for site in sites}


def _texts(site: Site, *, only_drained: bool) -> set[str]:
    every = (each for route in site.routes for each in route.upstreams)
    return {str(each) for each in every if each.drained or not only_drained}


def changed(sites: Sequence[Site], wanted: Drain) -> Drained:
    """What is drained on a host with `sites` if `wanted` is done.

    Raises:
        UsageError: no route has the upstream next to others, or it is the last one.
    """
    found: dict[str, list[str]] = {}
    is_possible, last = False, ""
    for site in sites:
        listed = _texts(site, only_drained=True)
        named = {each for each in _texts(site, only_drained=False) if _is_same(each, wanted)}
        after = listed - named if wanted.ends else listed | named
        for route in site.routes:
            if len(route.upstreams) < 2 or named.isdisjoint(map(str, route.upstreams)):
                continue
            if wanted.ends or not after.issuperset(map(str, route.upstreams)):
                is_possible = True
            else:
                last = f"{site.domain}{route.path}"
        found[site.domain] = sorted(after)
    if last:
        raise UsageError(
            f"{last} would have no upstream left in rotation without {wanted.upstream}",
            hint="Nothing was changed. Return a different one first: deployer drain … --end",
        )
    if not is_possible:
        raise UsageError(
            f"no route of this host has {wanted.upstream} next to other upstreams",
            hint=_known(sites),
        )
    return found


def _is_same(text: str, wanted: Drain) -> bool:
    """Whether it is the upstream that is `wanted`, which may be written without its scheme."""
    return wanted.upstream in (text, text.rpartition("://")[2])


def _known(sites: Iterable[Site]) -> str:
    known = {
        str(each)
        for site in sites
        for route in site.routes
        if len(route.upstreams) > 1
        for each in route.upstreams
    }
    if not known:
        return "Nothing was changed. Every route of this host has a single upstream."
    return f"Nothing was changed. There are: {', '.join(sorted(known))}"


def notes(sites: Iterable[Site], *, command: str) -> Iterator[str]:
    """What is drained, with the `command` that returns it; and where it is the only upstream."""
    for site in sites:
        drained = _texts(site, only_drained=True)
        for text in sorted(drained):
            paths = [
                route.path
                for route in site.routes
                if any(each.drained and str(each) == text for each in route.upstreams)
            ]
            yield (
                f"{text} is drained: it gets no new connections of {site.domain} "
                f"({', '.join(paths)}) until: {command} {shlex.quote(text)} --end"
            )
        for route in site.routes:
            kept = [str(each) for each in route.in_rotation if str(each) in drained]
            if kept:
                yield f"{site.domain}{route.path} keeps {kept[0]}: it has no other upstream"
