"""The registry of proxies: one row for each that can serve a site.

A proxy is three places: its folder here (site view, configuration reader, request path, faults,
limits, wording), its folder in `deployer/agent/proxies/`, and its role in `roles/`. Modules outside
of those places take what differs between proxies from its row, its `Words` and its `Traits`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, cast

from deployer.model import Proxy

if TYPE_CHECKING:
    from deployer.proxies.escaping import Escaping
    from deployer.proxies.inspect.by_proxy import Reader
    from deployer.proxies.inspect.names import NameReader
    from deployer.proxies.limits import Limits
    from deployer.proxies.roles import SiteViews
    from deployer.proxies.snippets import Snippets
    from deployer.proxies.traits import Traits
    from deployer.proxies.words import Words


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyServer:
    """One proxy. Its modules are imported when they are first needed.

    `title` is its name in prose. `config_test` is its own check of its whole configuration, which
    must pass before each reload: nginx(8), apachectl(8), haproxy(1). `versions` are those of its
    package, by series (November 2026). `oldest` is the upstream version to assume for a host of
    which neither package nor series is known: later versions understand the same configuration.
    Versions before `minimum` do not, because of what `minimum_because` names.
    """

    name: Proxy
    title: str
    unit: str
    package: str
    config_test: tuple[str, ...]
    oldest: str
    minimum: str
    minimum_because: str
    versions: Mapping[str, str]

    @property
    def views(self) -> SiteViews:
        """Sites as the values that its role's templates print."""
        return cast("SiteViews", self._module("site"))

    @property
    def reader(self) -> Reader:
        """The reader of its configuration."""
        return cast("Reader", self._module("inspect"))

    @property
    def names(self) -> NameReader:
        """The names in its configuration."""
        return cast("NameReader", self._module("names"))

    @property
    def limits(self) -> Limits:
        """Its limits on connections, processes and files."""
        return cast("Limits", self._module("limits"))

    @property
    def escaping(self) -> Escaping:
        """How strings are written into its configuration."""
        return cast("Escaping", self._module("escaping"))

    @property
    def snippets(self) -> Snippets:
        """How snippets of its configuration are checked, and where they may be."""
        return cast("Snippets", self._module("snippets"))

    @property
    def words(self) -> Words:
        """Its directives and hints."""
        return cast("Words", self._module("words").WORDS)

    @property
    def traits(self) -> Traits:
        """Its behavior."""
        return cast("Traits", self._module("traits").TRAITS)

    def _module(self, name: str) -> ModuleType:
        return import_module(f"{__name__}.{self.name}.{name}")


_SERVERS = (
    ProxyServer(
        name="nginx",
        title="nginx",
        unit="nginx",
        package="nginx",
        config_test=("nginx", "-t", "-q"),
        oldest="1.18.0",
        minimum="1.13.0",
        minimum_because="TLS 1.3",
        versions={
            "debian-11": "1.18.0-6.1+deb11u8",
            "debian-12": "1.22.1-9+deb12u11",
            "debian-13": "1.26.3-3+deb13u11",
            "ubuntu-20.04": "1.18.0-0ubuntu1.7",
            "ubuntu-22.04": "1.18.0-6ubuntu14.18",
            "ubuntu-24.04": "1.24.0-2ubuntu7.18",
            "ubuntu-26.04": "1.28.3-2ubuntu1.11",
        },
    ),
    ProxyServer(
        name="apache",
        title="Apache",
        unit="apache2",
        package="apache2",
        config_test=("apachectl", "configtest"),
        oldest="2.4.52",
        minimum="2.4.47",
        minimum_because="`ProxyPass … upgrade=websocket`, which forwards WebSockets",
        versions={
            "debian-11": "2.4.67-1~deb11u3",
            "debian-12": "2.4.71-1~deb12u1",
            "debian-13": "2.4.71-1~deb13u1",
            "ubuntu-20.04": "2.4.41-4ubuntu3.23",
            "ubuntu-22.04": "2.4.52-1ubuntu4.23",
            "ubuntu-24.04": "2.4.58-1ubuntu8.15",
            "ubuntu-26.04": "2.4.66-2ubuntu2.5",
        },
    ),
    ProxyServer(
        name="haproxy",
        title="HAProxy",
        unit="haproxy",
        package="haproxy",
        config_test=("haproxy", "-c", "-q", "-f", "/etc/haproxy/haproxy.cfg"),
        oldest="2.2.9",
        minimum="2.2",
        minimum_because="`http-after-response`, and private keys in files of their own",
        versions={
            "debian-11": "2.2.9-2+deb11u7",
            "debian-12": "2.6.12-1+deb12u4",
            "debian-13": "3.0.11-1+deb13u5",
            "ubuntu-20.04": "2.0.33-0ubuntu0.1",
            "ubuntu-22.04": "2.4.30-0ubuntu0.22.04.2",
            "ubuntu-24.04": "2.8.16-0ubuntu0.24.04.3",
            "ubuntu-26.04": "3.2.9-1ubuntu2.2",
        },
    ),
)

PROXIES: Mapping[Proxy, ProxyServer] = {server.name: server for server in _SERVERS}
BY_UNIT: Mapping[str, ProxyServer] = {server.unit: server for server in _SERVERS}
#: The command that must pass before a proxy is reloaded, by its unit.
CONFIG_TESTS: Mapping[str, tuple[str, ...]] = {
    server.unit: server.config_test for server in _SERVERS
}
