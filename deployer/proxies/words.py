"""How findings about a proxy are worded: the names of its directives, and the lines to write.

Each proxy has one `Words` value, `WORDS` in its folder's module `words`. Modules that explain
findings take their texts from it, and name no proxy themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from deployer.proxies import PROXIES


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayPage:
    """What the proxy's own page for a gateway error means: `cause` follows the proxy's name.

    `alternatives` are the codes of other findings that the same page could mean, `signs` how to
    recognize them, by code.
    """

    cause: str = ""
    alternatives: tuple[str, ...] = ()
    signs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One proxy's texts. Those about a *directive* name where something is configured.

    A text ends without a full stop, unless it is a whole sentence. An empty one means that the
    proxy has nothing of the kind.
    """

    # --- directives, by what they configure

    access: str
    backend: str
    chain: str
    drain: str
    idle: str
    login: str
    origins: str
    tls_port: str
    #: The idle limit as a distribution configures it: ``60 s``.
    idle_default: str

    # --- how to fix what the proxy does to a handshake

    host: str
    #: How to pass on the Host that the client sent, port included.
    original_host: str
    upgrade: str
    http_1_0: str
    slash: str
    strip: str

    # --- lines to write; those with braces are formats

    banner_off: str
    drain_line: str
    forwarded_for: str
    h2_off: str
    https_redirect: str
    idle_line: str
    ipv6_listen: str
    listen_line: str
    old_tls_off: str
    open_files: str
    #: How to accept a PROXY line, and how to send one.
    proxy_line: str
    send_proxy_line: str
    strict_upgrade: str
    tls_listen: str
    tls_upstream: str

    # --- what looks the same from outside

    #: How to recognize a cause, by the finding's code.
    signs: Mapping[str, str] = field(default_factory=dict)
    gateway_pages: Mapping[int, GatewayPage] = field(default_factory=dict)
    #: The code of a proxy that stopped at a reload, and of any that stopped.
    gone: str = "proxy-down"


def in_each(text: Callable[[Words], str]) -> str:
    """The texts of all proxies that have one, for an address whose proxy is unknown.

    ``nginx: server_tokens off; Apache: ServerTokens Prod``.
    """
    texts = {proxy.title: text(proxy.words).rstrip(";") for proxy in PROXIES.values()}
    return "; ".join(f"{title}: {each}" for title, each in texts.items() if each)
