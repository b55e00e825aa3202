"""The path of one request through Apache: its site, and the rule or ProxyPass it matches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deployer.proxies.apache.config import ApacheConfig, config_of
from deployer.proxies.apache.rewrite import Rewritten, request_variables, rewritten
from deployer.proxies.apache.tree import Directive
from deployer.proxies.apache.virtual_hosts import (
    Member,
    Pass,
    chosen_pass,
    listens,
    locations_of,
    member_of,
    members_of,
    site_of,
)
from deployer.proxies.apache.workers import Worker, is_looked_up, worker_for, worker_of_url
from deployer.proxies.inspect.model import ProxyState
from deployer.text.numbers import is_number


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One request in Apache: the site that serves it, and the rule or ProxyPass it matches."""

    state: ProxyState
    config: ApacheConfig
    name: str
    port: int
    path: str
    tls: bool
    site: Directive | None
    is_named: bool
    locations: tuple[Directive, ...]
    rewritten: Rewritten | None
    passed: Pass | None
    members: tuple[Member, ...]
    worker: Worker | None

    @property
    def upgrades(self) -> bool:
        """Whether WebSockets are forwarded: by the worker's options, not those of its line."""
        return any(
            each.scheme in ("ws", "wss") or self._options(each).get("upgrade")
            for each in self.members
        )

    def _options(self, member: Member) -> Mapping[str, str]:
        if self.passed is None or not is_looked_up(self.passed):
            return member.options if self.worker is None else self.worker.made_by.options
        return self.worker.made_by.options if self.worker is not None else {}

    def setting(self, name: str) -> Directive | None:
        """The directive that applies to the request: of the server, its site or its locations."""
        return self.config.setting(name, self.site, *self.locations)

    def is_on(self, name: str) -> bool:
        """Whether a switch is on; the default is off."""
        found = self.setting(name)
        return found is not None and [word.lower() for word in found.words[:1]] == ["on"]

    def idle(self) -> tuple[float, str, Directive | None]:
        """The idle timeout, its directive and its place: the longer of two limits."""
        server = self.config.setting("timeout", self.site)
        limits: list[tuple[float, str, Directive | None]] = [(60.0, "Timeout 60 (default)", None)]
        if server is not None and server.words:
            limits = [(_seconds(server.words[0]), _words(server), server)]
        proxied = self.setting("proxytimeout")
        own = [each for each in self.members if "timeout" in self._options(each)]
        if own:
            text = self._options(own[0])["timeout"]
            shared = self.worker.made_by.directive if self.worker is not None else None
            by = shared or own[0].directive
            limits.append((_seconds(text), f"timeout={text}, {by.where}", by))
        elif proxied is not None and proxied.words:
            limits.append((_seconds(proxied.words[0]), _words(proxied), proxied))
        return max(limits, key=lambda limit: limit[0])


def _words(directive: Directive) -> str:
    name = {"timeout": "Timeout", "proxytimeout": "ProxyTimeout"}[directive.name]
    return f"{name} {directive.words[0]}, {directive.where}"


def _seconds(text: str) -> float:
    """An Apache time: seconds, or with a unit ``ms``, ``s``, ``min``, ``h``."""
    units = {"ms": 0.001, "min": 60.0, "mi": 60.0, "h": 3600.0, "s": 1.0}
    for unit, factor in units.items():
        if text.endswith(unit):
            number = text.removesuffix(unit)
            return float(number) * factor if is_number(number) else 0.0
    return float(text) if is_number(text) else 0.0


def trace_of(state: ProxyState, *, name: str, port: int, path: str, tls: bool) -> Trace | None:
    """Trace a WebSocket request; `None` if nothing listens there, or nothing is known."""
    config = config_of(state)
    if not config.directives or not listens(config, port):
        return None
    site, is_named = site_of(config, name=name, port=port)
    bare = path.partition("?")[0]
    variables = request_variables(name=name, port=port, path=path, tls=tls)
    rules = site.children if site is not None else config.directives
    turned = rewritten(rules, variables)
    passed, members, worker = None, tuple[Member, ...](), None
    if turned is not None and turned.is_proxied:
        one = member_of(turned.target, turned.rule)
        members = (one,) if one else ()
        worker = worker_of_url(config, site, turned.target)
    elif turned is None or not turned.is_certain or not (turned.redirect or turned.is_file):
        asked = turned.target if turned is not None and turned.target.startswith("/") else bare
        passed = chosen_pass(config, site, asked if turned and turned.is_certain else bare)
        members = members_of(config, passed) if passed and passed.target else ()
        if passed is not None and is_looked_up(passed):
            worker = worker_for(config, site, passed, bare)
    return Trace(
        state=state,
        config=config,
        name=name,
        port=port,
        path=bare,
        tls=tls,
        site=site,
        is_named=is_named,
        locations=tuple(each for each, _ in locations_of(config, site, bare)),
        rewritten=turned,
        passed=passed,
        members=members,
        worker=worker,
    )
