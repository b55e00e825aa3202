"""Settings of routes: headers, redirects, passwords and rates."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from deployer.model import Value
from deployer.playbook.schema import values
from deployer.playbook.schema.models import Before, Check, Strict, field
from deployer.playbook.schema.types import Domain
from deployer.playbook.schema.values import InvalidValue
from deployer.sites.model import Rate

_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
_TARGET = re.compile(r"[A-Za-z0-9._~:/?@!&()*+,=%-]*")
_OF_CONNECTION = "it belongs to one connection"
_OF_BODY = "it describes the body"
_OF_PROXY = "the proxy sets it"
#: Headers that neither list may have, with the reason.
_OWN = {
    **dict.fromkeys(
        ("connection", "keep-alive", "te", "trailer", "upgrade", "proxy-connection", "expect"),
        _OF_CONNECTION,
    ),
    **dict.fromkeys(("content-length", "transfer-encoding"), _OF_BODY),
}
_OWN_OF_REQUESTS = {
    **_OWN,
    **dict.fromkeys(
        (
            *("x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port"),
            "x-forwarded-proto",
        ),
        _OF_PROXY,
    ),
}
_OWN_OF_ANSWERS = {
    **_OWN,
    **dict.fromkeys(("content-type", "content-encoding", "content-range"), _OF_BODY),
    **dict.fromkeys(("date", "server"), _OF_PROXY),
    "strict-transport-security": "write hsts in tls",
}


def _name(value: Value, own: Mapping[str, str]) -> str:
    what = "the name of a header"
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise InvalidValue(value, what, "it has letters, digits, '-' and '_'")
    why = own.get(value.lower(), "")
    if not why and value.lower().startswith("sec-websocket-"):
        why = "it belongs to the handshake"
    if why:
        raise InvalidValue(value, "a header to change", why)
    return value


def _setter(own: Mapping[str, str]) -> Callable[[Value], tuple[tuple[str, str], ...]]:
    def check(value: Value) -> tuple[tuple[str, str], ...]:
        if not isinstance(value, Mapping):
            raise InvalidValue(value, "a mapping of headers", "write {NAME: value}")
        found: dict[str, tuple[str, str]] = {}
        for key, each in value.items():
            name = _name(key, own)
            if isinstance(each, bool) or not isinstance(each, (str, int, float)):
                raise InvalidValue("(not shown)", f"a value of {name}", "it must be a string")
            text = str(each)
            if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", text) or len(text) > 4000:
                why = "it must be one line of printable ASCII characters"
                raise InvalidValue("(not shown)", f"a value of {name}", why)
            if name.lower() in found:
                raise InvalidValue(name, "a header to change", "it is there twice")
            found[name.lower()] = (name, text)
        return tuple(found.values())

    return check


def _remover(own: Mapping[str, str]) -> Callable[[Value], tuple[str, ...]]:
    def check(value: Value) -> tuple[str, ...]:
        names = value if isinstance(value, list) else [value]
        return tuple(dict.fromkeys(_name(each, own) for each in names))

    return check


def _remover_of_requests(value: Value) -> tuple[str, ...]:
    return _remover({**_OWN_OF_REQUESTS, "host": "every request has one"})(value)


_MAPPING = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
_LIST = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
Pairs = tuple[tuple[str, str], ...]


class RequestHeadersModel(Strict):
    """Headers that the service gets, or does not get."""

    set: Annotated[Pairs, Check(_setter(_OWN_OF_REQUESTS), **_MAPPING)] = field(
        (), description="Headers with their values, in place of the client's."
    )
    remove: Annotated[tuple[str, ...], Check(_remover_of_requests, **_LIST)] = field(
        (), description="Headers of clients that the service does not get."
    )


class ResponseHeadersModel(Strict):
    """Headers that clients get, or do not get."""

    set: Annotated[Pairs, Check(_setter(_OWN_OF_ANSWERS), **_MAPPING)] = field(
        (), description="Headers with their values, in place of the service's."
    )
    remove: Annotated[tuple[str, ...], Check(_remover(_OWN_OF_ANSWERS), **_LIST)] = field(
        (), description="Headers of the service that clients do not get."
    )


def _target(value: Value) -> str:
    what = "the target of a redirect"
    if not isinstance(value, str):
        raise InvalidValue(value, what, "write a path or a URL")
    found = re.fullmatch(r"(?:https?://(\[[^\]/]*\]|[^/:?]*)(?::([0-9]+))?)?(/.*|)", value, re.I)
    if found is None or value.startswith("//") or not value:
        raise InvalidValue(value, what, "write a path, or a URL with http:// or https://")
    if not _TARGET.fullmatch(found[3]):
        raise InvalidValue(value, what, "encode special and non-ASCII characters as %XX")
    if found[1] is None:
        return value
    scheme = value.partition("://")[0].lower()
    try:
        host = values.domain(found[1], wildcard=False)
        number = f":{values.port(found[2])}" if found[2] else ""
    except InvalidValue as error:
        raise InvalidValue(value, what, str(error)) from None
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}{number}{found[3] or '/'}"


class RedirectModel(Strict):
    """A redirect; the rest of a prefix's path and the query are kept."""

    to: Annotated[
        str,
        Check(_target, type="string", examples=["/new", "https://www.example.com/"]),
    ] = field(description="A path of the site, or a URL; one with a query is used as it is.")
    code: Literal[301, 302, 303, 307, 308] = field(308, description="The status.")


def _as_redirect(value: Value) -> Value:
    return {"to": value} if isinstance(value, str) else value


Redirect = Annotated[RedirectModel, Before(_as_redirect)]


class AliasModel(Strict):
    """A further name of a site, which is served or redirects to one that is."""

    name: Domain
    redirects_to: Domain | None = field(
        None, description="A name of the site to which this one redirects."
    )


def as_alias(value: Value) -> Value:
    """An alias as a mapping; most are written as a name."""
    return {"name": value} if isinstance(value, str) else value


_USER = re.compile(r"[A-Za-z0-9._@-]{1,100}")
_HASH = re.compile(r"\$(5|6|2[aby]|y|apr1)\$[A-Za-z0-9./$=,]{10,300}")
_HOW = "write a hash of it: openssl passwd -6"


def _users(value: Value) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping) or not value:
        raise InvalidValue("(not shown)", "a mapping of users", "write {NAME: HASH}")
    for name, hashed in value.items():
        if not isinstance(name, str) or not _USER.fullmatch(name):
            raise InvalidValue(name, "the name of a user", "it has letters, digits and . _ @ -")
        if not isinstance(hashed, str) or not _HASH.fullmatch(hashed):
            raise InvalidValue("(not shown)", f"the hash of {name}'s password", _HOW)
    return tuple(value.items())


class BasicAuthModel(Strict):
    """Names and passwords that browsers ask for."""

    users: Annotated[
        tuple[tuple[str, str], ...],
        Check(_users, type="object", additionalProperties={"type": "string"}),
    ] = field(description="Names with hashes of their passwords, from secret variables.")


def _rate(value: Value) -> Rate:
    found = re.fullmatch(r"([1-9][0-9]{0,5})/(s|m)", value) if isinstance(value, str) else None
    if found is None:
        raise InvalidValue(value, "a rate", "write 10/s, or 30/m for a minute")
    return Rate(count=int(found[1]), seconds=1 if found[2] == "s" else 60)


_Rate = Annotated[Rate, Check(_rate, type="string", examples=["10/s", "30/m"])]


class RateLimitModel(Strict):
    """How often one address may send requests; more are answered with 429."""

    requests: _Rate | None = field(None, description="Requests of all kinds: 20/s.")
    handshakes: _Rate | None = field(None, description="WebSocket handshakes: 30/m.")


def _as_requests(value: Value) -> Value:
    return {"requests": value} if isinstance(value, str) else value


RateLimit = Annotated[RateLimitModel, Before(_as_requests)]
