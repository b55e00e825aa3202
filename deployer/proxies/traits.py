"""How a proxy behaves, as far as that decides what is checked, counted or recognized.

Each proxy has one `Traits` value, `TRAITS` in its folder's module `traits`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSign:
    """A text of the proxy's log, and the code of the limit that it proves was reached.

    `client_fix` is set for a limit on what one client address may use.
    """

    text: str
    code: str
    client_fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """The directive that limits how long old workers live: its pattern, and its default unit."""

    pattern: str
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """One proxy's behavior.

    Attributes:
        banner: its name with a version, in a header of an answer.
        own_page: its own error page; a first group has its name and version.
        named_page: its own error page, if the Server header of the answer names it.
        server_names: what the Server header of its answers begins with, in lower case.
        page_name: what to call the writer of `own_page` if the page has no name.
        unknown_name: in its own page, the host name that it could not look up.
        page_reason: in its own page, the reason for the error.
        worker_title: part of the command lines of processes that serve clients.
        line_end: what a line of its configuration ends with.
        log_signs: lines of its log that prove which limit was reached.
        bind_error: a line of its log for an address that it could not bind.
        reload_line: a line of its log for a reload, if it exits when a reload cannot bind an
            address; empty if it then keeps its configuration.
        exit_line: a line of its log for that exit.
        listen_line: the line of its configuration for a port, with ``{port}``.
        test_error: file, line and message in the output of its own configuration test; `None` if
            its reader reports what the test refuses.
        drain: the limit on old workers, `None` if the playbook's limit is applied at the reload.
        has_process_slots: every process that serves a WebSocket keeps a slot after a reload.
        counts_websockets: whether its upgraded connections differ from idle ones on the host.
        sends_server_header: it names itself in its answers.
        keeps_server_header: it passes on a service's own Server header.
        has_plain_http_page: a page of its own answers plain HTTP on a TLS port.
        upgrades_h2c: it answers `Upgrade: h2c` itself, and its rules hold for what follows.
        stock_page: the page that its package installs for all names; `None` if it installs none.
        process_wide: settings of its configuration that hold for all of its sites.
        longest_page_bytes: how long a page that it sends itself may be; 0 if any length is fine.
        has_dual_stack: its socket for all IPv6 addresses accepts IPv4.
    """

    banner: re.Pattern[str]
    own_page: re.Pattern[bytes]
    named_page: re.Pattern[bytes] | None = None
    server_names: tuple[str, ...] = ()
    page_name: str = ""
    unknown_name: re.Pattern[bytes] | None = None
    page_reason: re.Pattern[bytes] | None = None
    worker_title: str = ""
    line_end: str = ""
    log_signs: tuple[LogSign, ...] = ()
    bind_error: str = ""
    reload_line: str = ""
    exit_line: str = ""
    listen_line: str = ""
    test_error: re.Pattern[str] | None = None
    drain: Drain | None = None
    has_process_slots: bool = False
    counts_websockets: bool = True
    sends_server_header: bool = True
    keeps_server_header: bool = False
    has_plain_http_page: bool = True
    upgrades_h2c: bool = False
    stock_page: re.Pattern[bytes] | None = None
    process_wide: re.Pattern[str] | None = None
    longest_page_bytes: int = 0
    has_dual_stack: bool = False
