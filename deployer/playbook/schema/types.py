"""The value types of the schema, each with its check and its JSON Schema for editors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated

from deployer.model import Value
from deployer.playbook.schema import handshakes, values
from deployer.playbook.schema.models import Before, Check
from deployer.playbook.schema.values import InvalidValue
from deployer.playbook.yaml.source import nearest
from deployer.proxies import PROXIES
from deployer.sites.model import Upstream as UpstreamValue
from deployer.text.numbers import is_number

ISSUERS = ("letsencrypt", "letsencrypt-staging", "internal", "provided", "none")
#: The DNS plugins maintained by the certbot project: https://eff-certbot.readthedocs.io
DNS_PLUGINS = (
    "cloudflare",
    "digitalocean",
    "dnsimple",
    "dnsmadeeasy",
    "gehirn",
    "google",
    "linode",
    "luadns",
    "nsone",
    "ovh",
    "rfc2136",
    "route53",
    "sakuracloud",
)
KEY_TYPES = {
    "ecdsa": "ecdsa-p256",
    "ecdsa-p256": "ecdsa-p256",
    "ecdsa-p384": "ecdsa-p384",
    "rsa": "rsa-2048",
    "rsa-2048": "rsa-2048",
    "rsa-4096": "rsa-4096",
}


def _one_of(what: str, known: tuple[str, ...]) -> Callable[[object], str]:
    def check(value: Value) -> str:
        if value in known:
            return str(value)
        near = nearest(str(value), known) if isinstance(value, str) else ""
        raise InvalidValue(value, what, near or f"use one of {', '.join(known)}")

    return check


def _directory(value: object) -> str:
    what = "the URL of an ACME directory"
    text = str(value)
    if not isinstance(value, str) or not text.startswith("https://"):
        raise InvalidValue(value, what, "it must start with https://")
    host, _, path = text.removeprefix("https://").partition("/")
    name, colon, number = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    try:
        values.domain((name if colon else host).strip("[]"), wildcard=False)
        if colon:
            values.port(number)
    except InvalidValue as error:
        raise InvalidValue(value, what, str(error)) from None
    _plain(path, _URL_SIGNS, value=value, what=what)
    return text


_URL_SIGNS = "-._~/?=&%+:@,"
_KEY_SIGNS = "-_+/="


def _plain(text: str, signs: str, *, value: object, what: str) -> None:
    for character in text:
        if not (character.isascii() and (character.isalnum() or character in signs)):
            raise InvalidValue(value, what, f"{character!r} is not allowed")


def _account_id(value: object) -> str:
    what = "a key identifier"
    if not isinstance(value, str) or not value:
        raise InvalidValue(value, what, "quote it" if isinstance(value, int) else "")
    _plain(value, "-._~+/=:@", value=value, what=what)
    return value


def _hmac_key(value: object) -> str:
    hidden = "(not shown)"
    if not isinstance(value, str) or not value:
        raise InvalidValue(hidden, "a key in base64url")
    _plain(value, _KEY_SIGNS, value=hidden, what="a key in base64url")
    return value


def _key_type(value: object) -> str:
    if isinstance(value, str) and value in KEY_TYPES:
        return KEY_TYPES[value]
    raise InvalidValue(value, "a key type", f"use one of {', '.join(KEY_TYPES)}")


def _list(value: object) -> Value:
    """`value` as a list; a single value becomes a list of one."""
    return value if isinstance(value, (list, tuple)) else [value]


def _member(value: Value) -> UpstreamValue:
    if not isinstance(value, dict):
        return values.upstream(value)
    from deployer.playbook.schema.members import member

    return member(value)


def _ranges(value: Value) -> tuple[str, ...]:
    from deployer.playbook.schema.ranges import ranges
    from deployer.sites.client_ranges import PRESETS

    return ranges(_list(value), presets=PRESETS)


def _route_snippets(value: Value) -> Mapping[str, str]:
    from deployer.playbook.schema.snippets import of_routes

    return of_routes(value)


def _site_snippets(value: Value) -> Mapping[str, Mapping[str, str]]:
    from deployer.playbook.schema.snippets import of_sites

    return of_sites(value)


def _origins(value: object) -> tuple[str, ...]:
    if value in ("any", ["any"]):
        return ("any",)
    if not _list(value):
        raise InvalidValue(
            [], "a list of origins", "remove it for the site's own names, or write any"
        )
    return tuple(dict.fromkeys(values.origin(each) for each in _list(value)))


def _statuses(value: object) -> tuple[int, ...]:
    if not _list(value):
        raise InvalidValue([], "a list of HTTP statuses", "remove it for 101")
    return tuple(dict.fromkeys(handshakes.status(each) for each in _list(value)))


def _request_path(value: object) -> str:
    path, mark, query = str(value).partition("?")
    checked = values.url_path(path if isinstance(value, str) else value)
    if not mark:
        return checked

    if not re.fullmatch(r"[A-Za-z0-9._~@:+,=/%&!$*-]*", query):
        raise InvalidValue(
            value, "a path with a query", "encode special and non-ASCII characters as %XX"
        )
    return f"{checked}?{query}"


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InvalidValue(value, "a string", "quote it" if isinstance(value, bool) else "")
    text = str(value)
    if not text.isascii() and re.search("[\ud800-\udfff]", text):
        raise InvalidValue(value, "a string", "it is not valid Unicode")
    return text


def _line(value: object) -> str:
    text = _text(value)
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise InvalidValue(value, "a line of text", "it contains a line break or control character")
    return text


def _argv(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return values.split_command(value)
    if not isinstance(value, list) or not value:
        raise InvalidValue(value, "a command", "write a command line, or a list of its arguments")
    words = tuple(_text(each) for each in value)
    if not words[0] or any("\0" in word for word in words):
        raise InvalidValue(value, "a command")
    return words


def _names(check: Callable[[object], str]) -> Callable[[object], tuple[str, ...]]:
    def each(value: Value) -> tuple[str, ...]:
        words = value.split(",") if isinstance(value, str) else value
        if not isinstance(words, (list, tuple)):
            raise InvalidValue(value, "a name or a list of names")
        return tuple(dict.fromkeys(check(w.strip() if isinstance(w, str) else w) for w in words))

    return each


def _listens(value: Value) -> tuple[str, ...]:
    return _names(values.listening)([value] if isinstance(value, int) else value)


def _content(value: object) -> str | bytes:
    from deployer.playbook.templates.filters.serial import to_nice_json
    from deployer.playbook.templates.limits import LimitError

    if isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return str(value)
    if not isinstance(value, (dict, list)):
        return _text(value)
    try:
        return to_nice_json(value)
    except (TypeError, ValueError, RecursionError, LimitError):
        raise InvalidValue(value, "a text, or a mapping that can be written as JSON") from None


def _number(value: object) -> int:
    if isinstance(value, str) and is_number(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32 - 1:
        raise InvalidValue(value, "a user id")
    return value


_STRING = {"type": "string"}
_MEMBER = {
    "type": "object",
    "required": ["url"],
    "properties": {
        "url": _STRING,
        "weight": {"type": "integer"},
        "backup": {"type": "boolean"},
        "max_conns": {"type": "integer"},
        "verify": {"type": ["boolean", "string"]},
        "sni": _STRING,
        "send_proxy": {"enum": ["v1", "v2"]},
    },
    "additionalProperties": False,
}
_STRINGS = {"anyOf": [_STRING, {"type": "array", "items": _STRING}]}


Domain = Annotated[
    str,
    Check(
        values.domain,
        type="string",
        description="A host name or IP address.",
        examples=["stats.example.com"],
    ),
]
UrlPath = Annotated[
    str,
    Check(
        values.route_path,
        type="string",
        description="A URL path, decoded; {NAME} matches one segment.",
        pattern="^(/|.*[{]{2})",
        examples=["/ws", "/rooms/{room}/ws"],
    ),
]
RequestPath = Annotated[
    str,
    Check(
        _request_path,
        type="string",
        description="A URL path, optionally with a query.",
        examples=["/ws?v=2"],
    ),
]
Upstreams = Annotated[
    tuple[UpstreamValue, ...],
    Check(
        lambda value: tuple(_member(each) for each in _list(value)),
        anyOf=[_STRING, _MEMBER, {"type": "array", "items": {"anyOf": [_STRING, _MEMBER]}}],
        description="http://HOST:PORT, https://, ws://, wss:// or unix:/PATH; one or a list, whose "
        "items may be {url, weight, backup, max_conns, verify, sni, send_proxy}.",
    ),
]
Duration = Annotated[
    float,
    Check(
        values.duration_s,
        type=["string", "number"],
        description="A duration: 500ms, 75s, 1h, 180d, or seconds.",
    ),
]
Drain = Annotated[
    Value,
    Check(
        lambda value: value if value == "none" else values.duration_s(value),
        type=["string", "number"],
        description="A duration, or none.",
    ),
]
Size = Annotated[
    Value,
    Check(
        lambda value: value if value == "none" else values.size_bytes(value),
        type=["string", "integer"],
        description="A size: 64k, 16m, 1g, or none.",
    ),
]
Clients = Annotated[
    tuple[str, ...],
    Check(
        _ranges,
        **_STRINGS,
        description="Addresses, ranges such as 10.0.0.0/8, or private, cloudflare, fastly.",
    ),
]
_TEXTS: Value = {"type": "object", "additionalProperties": {"type": "string"}}
RouteSnippets = Annotated[Mapping[str, str], Check(_route_snippets, **_TEXTS)]
SiteSnippets = Annotated[
    Mapping[str, Mapping[str, str]],
    Check(_site_snippets, type="object", additionalProperties=_TEXTS),
]
TrustedProxies = Annotated[
    tuple[str, ...],
    Check(
        _ranges,
        **_STRINGS,
        description="Addresses, ranges such as 10.0.0.0/8, or cloudflare, fastly, private.",
    ),
]
Origin = Annotated[str, Check(values.origin, type="string", examples=["https://stats.example.com"])]
Origins = Annotated[
    tuple[str, ...],
    Check(
        _origins,
        **_STRINGS,
        description="Pages that may connect: SCHEME://HOST[:PORT]; any allows all pages.",
    ),
]
Subprotocols = Annotated[
    tuple[str, ...],
    Check(
        lambda value: tuple(values.subprotocol(each) for each in _list(value)),
        **_STRINGS,
        description="Subprotocols to offer, in order of preference.",
    ),
]
Headers = Annotated[
    tuple[tuple[str, str], ...],
    Check(
        handshakes.headers,
        type="object",
        additionalProperties={"type": ["string", "number"]},
        description="Headers by name, in addition to the handshake's own; values are never shown.",
    ),
]
Statuses = Annotated[
    tuple[int, ...],
    Check(
        _statuses,
        anyOf=[
            {"type": ["integer", "string"]},
            {"type": "array", "items": {"type": ["integer", "string"]}},
        ],
        description="HTTP statuses: 101, or those with which the service may refuse.",
    ),
]
Port = Annotated[int, Check(values.port, type="integer", minimum=1, maximum=65535)]
Mode = Annotated[
    str,
    Check(values.mode, type=["string", "integer"], examples=["0644", "u=rw,g=r,o=r"]),
]
AbsolutePath = Annotated[
    str, Check(values.absolute_path, type="string", description="An absolute path.")
]
FileName = Annotated[str, Check(values.file_name, type="string", examples=["index.html"])]
FilePath = Annotated[str, Check(values.file_path, type="string", description="An absolute path.")]
Email = Annotated[str, Check(values.email, type="string", format="email")]
Account = Annotated[str, Check(values.account, type=["string", "integer"])]
Accounts = Annotated[tuple[str, ...], Check(_names(values.account), **_STRINGS)]
Packages = Annotated[tuple[str, ...], Check(_names(values.package), **_STRINGS)]
Unit = Annotated[str, Check(values.unit, type="string")]
Listens = Annotated[tuple[str, ...], Check(_listens, type=["integer", "string", "array"])]
Number = Annotated[int, Check(_number, type=["integer", "string"], minimum=0)]
Text = Annotated[str, Check(_text, type=["string", "number"])]
Line = Annotated[str, Check(_line, type=["string", "number"])]
Content = Annotated[str | bytes, Check(_content, type=["string", "number", "object", "array"])]
Argv = Annotated[
    tuple[str, ...],
    Check(_argv, **_STRINGS, description="A command line without a shell, or its arguments."),
]
Proxy = Annotated[
    str,
    Check(_one_of("a proxy", tuple(PROXIES)), enum=list(PROXIES)),
]
Issuer = Annotated[str, Check(_one_of("an issuer", ISSUERS), enum=list(ISSUERS))]
Directory = Annotated[
    str,
    Check(
        _directory,
        type="string",
        pattern="^https://",
        description="The URL of an ACME directory.",
        examples=["https://ca.corp.example/acme/directory"],
    ),
]
AccountId = Annotated[str, Check(_account_id, type="string")]
HmacKey = Annotated[str, Check(_hmac_key, type="string")]
DnsPlugin = Annotated[str, Check(_one_of("a DNS plugin", DNS_PLUGINS), enum=list(DNS_PLUGINS))]
KeyType = Annotated[str, Check(_key_type, enum=list(KEY_TYPES))]
Words = Annotated[
    list[str],
    Before(lambda value: value.split(",") if isinstance(value, str) else value, **_STRINGS),
]
Conditions = Annotated[list[Value], Before(_list, type=["string", "boolean", "array"])]
