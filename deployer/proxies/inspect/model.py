"""The host's reply about its proxies, and the findings in it: frozen values.

Times are ages in seconds at the time of the reply, because hosts' clocks differ. What could not be
read is empty or `None`, with the reason in the notes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypedDict, Unpack

from deployer.model import Document, Proxy, Severity
from deployer.proxies.inspect.shown import without_credentials
from deployer.sites.model import Upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of a proxy; `is_leaving` if it only serves an earlier configuration.

    `files_limit` is the soft limit of open files, `None` for none; `open_files` is `None` if
    only root may read it; `title` is its command line.
    """

    pid: int
    ppid: int
    age_s: float
    threads: int
    open_files: int | None
    files_limit: int | None
    rss_bytes: int
    is_leaving: bool
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """One file of a proxy's configuration, in the order in which the proxy reads them.

    `real_path` is where a link leads to; empty if `path` is not one.
    """

    path: str
    text: str
    changed_s_ago: float | None = None
    real_path: str = ""


class Located(Protocol):
    """Something with a place in a file."""

    @property
    def file(self) -> str:
        """Its path."""

    @property
    def line(self) -> int:
        """From 1; 0 for the whole file."""


class Place(NamedTuple):
    """A file and a line of it."""

    file: str = ""
    line: int = 0


def place_of(file: ConfigFile, found: re.Match[str]) -> Place:
    """The line in which a match in the file ends."""
    return Place(file.path, file.text.count("\n", 0, found.end()) + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """One directive of a configuration: its name (if that is one word), words, file and line."""

    words: tuple[str, ...]
    file: str
    line: int
    name: str = ""

    @property
    def where(self) -> str:
        """``/etc/haproxy/haproxy.cfg:12``."""
        return f"{self.file}:{self.line}"

    def __str__(self) -> str:
        words = [word or '""' for word in self.words]
        return " ".join([self.name, *words] if self.name else words)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyState:
    """One proxy that is installed on the host, as it is now.

    `config` are the files; `dump` is the proxy's own output about them (Apache's DUMP_CONFIG,
    DUMP_VHOSTS, DUMP_MODULES and DUMP_RUN_CFG; HAProxy's statistics). `test_ok` is the result of
    its own configuration test, `None` if that could not be run. `log` are the last lines of its
    journal and error logs. `listeners` are its open addresses, such as ``0.0.0.0:443``.
    `unit` is the systemd unit that its processes belong to, such as ``nginx.service``, if any;
    `unit_state` is the state of the package's unit: ``active``, ``failed``, ``inactive``.
    `accepted_reload_s_ago` is the age of its present configuration, from the age of its workers.
    `local_time` is the host's, in the format of its logs: ``2026-11-21 15:03:04``.
    """

    proxy: Proxy
    version: str = ""
    is_running: bool = False
    unit: str = ""
    unit_state: str = ""
    started_s_ago: float | None = None
    accepted_reload_s_ago: float | None = None
    config: tuple[ConfigFile, ...] = ()
    dump: str = ""
    test_ok: bool | None = None
    test_output: str = ""
    log: tuple[str, ...] = ()
    processes: tuple[Process, ...] = ()
    listeners: tuple[str, ...] = ()
    websockets: int = 0
    local_time: str = ""

    @property
    def version_numbers(self) -> tuple[int, ...]:
        """``1.22.1`` as numbers for comparison; empty if it is unknown."""
        parts = self.version.split(".")
        return tuple(int(part) for part in parts) if all(map(str.isdigit, parts)) else ()

    @property
    def main_pids(self) -> frozenset[int]:
        """The processes that were not started by a process of the proxy."""
        pids = {each.pid for each in self.processes}
        return frozenset(each.pid for each in self.processes if each.ppid not in pids)


class OtherListener(TypedDict):
    """Where a web server listens whose configuration is not read; `unit` may be empty."""

    process: str
    pid: int
    unit: str
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A host's proxies, and in `notes` what could not be read and why.

    `unread` are notes on files of the proxies that could not be read; `others` are web servers
    that are none of the proxies, or run in containers. `addresses` are those at which others reach
    the host.
    """

    proxies: tuple[ProxyState, ...] = ()
    notes: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    others: tuple[OtherListener, ...] = ()
    addresses: tuple[str, ...] = ()

    def of(self, proxy: Proxy) -> ProxyState | None:
        """The state of one proxy, if it is installed."""
        return next((state for state in self.proxies if state.proxy == proxy), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """How a proxy's configuration handles requests for a name, port and path.

    `path` and `match` are those of the rule that serves it (a location, a ProxyPass, an ACL), at
    `file` and `line`. `upstreams` is empty if files or a fixed answer are served;
    `path_at_service` is the path requested from the service. `idle_timeout_s` is `None` if idle
    connections are not limited; `idle_directive` is the source of the limit:
    ``proxy_read_timeout 60s (default)``, ``timeout tunnel 1h, /etc/haproxy/haproxy.cfg:12``. `note`
    is what was not understood. `wants_proxy_line`: its port expects each connection to start with a
    PROXY line (of the PROXY protocol). `sends_proxy_line`: it sends such a line to the service, by
    the line `server_where` if that is a different one. `own_address` is the address that it is
    served at, if not at all of the host's.
    """

    proxy: Proxy
    names: tuple[str, ...]
    port: int
    path: str
    match: Literal["prefix", "exact", "regex"] = "prefix"
    file: str = ""
    line: int = 0
    upstreams: tuple[Upstream, ...] = ()
    path_at_service: str = "/"
    idle_timeout_s: float | None = None
    idle_directive: str = ""
    tls: bool = False
    note: str = ""
    wants_proxy_line: bool = False
    sends_proxy_line: bool = False
    server_where: str = ""
    own_address: str = ""

    def __post_init__(self) -> None:
        for name in ("idle_directive", "note"):
            object.__setattr__(self, name, without_credentials(getattr(self, name)))

    @property
    def where(self) -> str:
        """``/etc/nginx/conf.d/site.conf:12``."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something in a proxy's configuration or state that would explain a symptom.

    Faults are ordered with the most certain ones first; one that explains no observed symptom is
    not reported. Quoted values that would give access are removed.

    Attributes:
        code: the finding's code.
        cause, fix: whole sentences; empty ones keep those of the check's own finding, to which the
            fault only adds the place.
        directive: the line to write.
        explains: the codes of failed checks that it accounts for.
        severity: of the finding.
        stands_alone: reported whether or not a check has failed.
        is_certain: enough by itself for the symptom, so that no alternatives are named.
        is_astray: sends the request to a different service than intended.
        is_by_address: applies to some clients only, by their address.
        is_of_path: the service is asked for a different path, which the site may intend.
        is_of_line: the port expects a PROXY header, which the site may intend.
        statuses: the only status codes that it explains; empty for all.
        tell: how to tell it from other faults that explain the same symptom.
    """

    code: str
    cause: str
    fix: str
    directive: str = ""
    file: str = ""
    line: int = 0
    explains: frozenset[str] = frozenset()
    severity: Severity = "error"
    stands_alone: bool = False
    is_certain: bool = False
    is_astray: bool = False
    is_by_address: bool = False
    is_of_path: bool = False
    is_of_line: bool = False
    statuses: frozenset[int] = frozenset()
    tell: str = ""

    def __post_init__(self) -> None:
        for name in ("cause", "fix", "directive", "tell"):
            object.__setattr__(self, name, without_credentials(getattr(self, name)))

    @property
    def where(self) -> str:
        """``/etc/nginx/conf.d/site.conf:12``; empty if it has no place."""
        return f"{self.file}:{self.line}" if self.line else self.file


class FaultOptions(TypedDict, total=False):
    """The optional values of a `Fault`."""

    directive: str
    severity: Severity
    stands_alone: bool
    is_certain: bool
    is_astray: bool
    is_by_address: bool
    is_of_path: bool
    is_of_line: bool
    statuses: frozenset[int]
    tell: str


def fault(
    by: Located | None,
    *,
    code: str,
    explains: frozenset[str],
    cause: str,
    fix: str,
    **options: Unpack[FaultOptions],
) -> Fault:
    """A fault at the line of `by`, if there is one."""
    return Fault(
        code=code,
        explains=explains,
        cause=cause,
        fix=fix,
        file=by.file if by is not None else "",
        line=by.line if by is not None else 0,
        **options,
    )


# --- from the host's answer -----------------------------------------------------------------------


def inspection_from_json(reply: Document) -> Inspection:
    """The reply to ``inspect`` (docs/reference/protocol.md) as values."""
    return Inspection(
        proxies=tuple(_state(each) for each in reply["proxies"]),
        notes=tuple(str(note) for note in reply["notes"]),
        unread=tuple(reply.get("unread", ())),
        others=tuple(reply.get("others", ())),
        addresses=tuple(reply.get("addresses", ())),
    )


def _state(document: Document) -> ProxyState:
    values = {
        **document,
        "config": tuple(ConfigFile(**each) for each in document["config"]),
        "processes": tuple(Process(**each) for each in document["processes"]),
        "log": tuple(document["log"]),
        "listeners": tuple(document["listeners"]),
    }
    return ProxyState(**values)
