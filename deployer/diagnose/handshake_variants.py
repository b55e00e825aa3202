"""Build one handshake and variants that differ in one thing, to distinguish causes. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deployer.verify.net.address import Address
from deployer.verify.planned import security
from deployer.verify.planned.model import FOREIGN_ORIGIN
from deployer.verify.probe.spec import HttpProbe, Probe, UpgradeProbe, VariantsProbe

Variant = Literal[
    "own-origin",
    "no-origin",
    "null-origin",
    "foreign-origin",
    "other-port-origin",
    "other-scheme-origin",
    "slash",
    "doubled",
    "nowhere",
    "no-subprotocol",
    "one-subprotocol",
    "two-subprotocols",
    "sample-key",
    "h2c",
    "http2",
    "old-tls",
]

_USER_AGENT = ("User-Agent", "deployer-diagnose")
#: "Hello, world!", the key in many tutorials: 13 bytes instead of the 16 that RFC 6455 requires.
_SAMPLE_KEY = "SGVsbG8sIHdvcmxkIQ=="
_SUBPROTOCOLS = ("deployer-one", "deployer-two")


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeOptions:
    """The user's options for the handshake; `headers` may be secret.

    `origin` is `None` for the origin of a page on the same server. `send` and `expect` are
    messages.
    """

    origin: str | None = None
    subprotocols: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    send: str | None = None
    expect: str | None = None


def handshake(address: Address, options: HandshakeOptions) -> UpgradeProbe:
    """Return the handshake to diagnose."""
    return _upgrade(
        address,
        options,
        origin=address.origin if options.origin is None else options.origin,
        subprotocols=options.subprotocols,
        send=options.send,
        expect=options.expect,
    )


def plain(
    address: Address, options: HandshakeOptions, *, extra: tuple[tuple[str, str], ...] = ()
) -> HttpProbe:
    """Return the same request without an upgrade."""
    closing = () if any(name == "Connection" for name, _ in extra) else (("Connection", "close"),)
    return _get(address, options, extra=(*extra, *closing))


def _get(
    address: Address, options: HandshakeOptions, *, extra: tuple[tuple[str, str], ...] = ()
) -> HttpProbe:
    """Return a GET request without a Connection header."""
    return HttpProbe(
        uri=address.page_uri,
        hop="public",
        endpoint=address.endpoint,
        server_name=address.name,
        target=address.target,
        headers=(("Host", address.host), _USER_AGENT, *options.headers, *extra),
    )


def h2c(address: Address, options: HandshakeOptions) -> VariantsProbe:
    """Return requests for cleartext HTTP/2, a tunnel that would bypass every rule of a proxy."""
    return security.h2c(_get(address, options))


def when_open(address: Address, options: HandshakeOptions) -> dict[Variant, Probe]:
    """Return variants of a working handshake, which show whether the server checks enough."""
    own = handshake(address, options)
    variants: dict[Variant, Probe] = {
        "no-origin": _upgrade(address, options, origin=None, subprotocols=options.subprotocols),
        "foreign-origin": _upgrade(
            address, options, origin=FOREIGN_ORIGIN, subprotocols=options.subprotocols
        ),
        "sample-key": plain(address, options, extra=_with_sample_key(own)),
        "h2c": h2c(address, options),
    }
    if address.is_secure:
        variants["http2"] = security.over_http2(own, foreign_origin=None)
        variants["old-tls"] = security.old_tls(_get(address, options))
    if not options.subprotocols:
        for name, offered in (
            ("one-subprotocol", _SUBPROTOCOLS[:1]),
            ("two-subprotocols", _SUBPROTOCOLS),
        ):
            variants[name] = _upgrade(  # type: ignore[index]
                address, options, origin=address.origin, subprotocols=offered
            )
    return variants


def when_refused(
    address: Address, options: HandshakeOptions, *, nowhere: str
) -> dict[Variant, HttpProbe]:
    """Return variants of a failing handshake, which show which part of it is refused.

    `nowhere` is a path that no site has.
    """
    offered = options.subprotocols
    variants: dict[Variant, HttpProbe] = {
        "no-origin": _upgrade(address, options, origin=None, subprotocols=offered),
        "null-origin": _upgrade(address, options, origin="null", subprotocols=offered),
        "foreign-origin": _upgrade(address, options, origin=FOREIGN_ORIGIN, subprotocols=offered),
        "other-port-origin": _upgrade(
            address, options, origin=_origin_with_port_toggled(address), subprotocols=offered
        ),
        "other-scheme-origin": _upgrade(
            address, options, origin=_origin_with_other_scheme(address), subprotocols=offered
        ),
        "nowhere": plain(address.at(nowhere), options),
    }
    if options.origin is not None and options.origin != address.origin:
        variants["own-origin"] = _upgrade(
            address, options, origin=address.origin, subprotocols=offered
        )
    toggled = address.with_slash_toggled()
    if toggled is not None:
        variants["slash"] = handshake(toggled, options)
        path, mark, query = address.target.partition("?")
        stem = path.rstrip("/")
        variants["doubled"] = handshake(address.at(f"{stem}{stem}{mark}{query}"), options)
    own = address.origin if options.origin is None else options.origin
    if offered:
        variants["no-subprotocol"] = _upgrade(address, options, origin=own, subprotocols=())
    if len(offered) > 1:
        variants["one-subprotocol"] = _upgrade(
            address, options, origin=own, subprotocols=offered[:1]
        )
    return variants


def _upgrade(
    address: Address,
    options: HandshakeOptions,
    *,
    origin: str | None,
    subprotocols: tuple[str, ...],
    send: str | None = None,
    expect: str | None = None,
) -> UpgradeProbe:
    origins = () if origin is None else (("Origin", origin),)
    return UpgradeProbe(
        uri=address.websocket_uri,
        hop="public",
        endpoint=address.endpoint,
        server_name=address.name,
        target=address.target,
        headers=(("Host", address.host), _USER_AGENT, *origins, *options.headers),
        subprotocols=subprotocols,
        send=send,
        expect=expect,
    )


def _with_sample_key(own: UpgradeProbe) -> tuple[tuple[str, str], ...]:
    kept = tuple(field for field in own.headers if field[0] == "Origin")
    offered = (("Sec-WebSocket-Protocol", ", ".join(own.subprotocols)),) if own.subprotocols else ()
    return (
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", _SAMPLE_KEY),
        *offered,
        *kept,
    )


def _origin_with_port_toggled(address: Address) -> str:
    """Return the page's origin without its port, or with the default port written out."""
    scheme = "https" if address.is_secure else "http"
    if address.has_default_port:
        return f"{scheme}://{address.bare_host}:{address.port}"
    return f"{scheme}://{address.bare_host}"


def _origin_with_other_scheme(address: Address) -> str:
    scheme = "http" if address.is_secure else "https"
    return f"{scheme}://{address.host}"
