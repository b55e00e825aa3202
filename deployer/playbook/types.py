"""The value types of the schema: `values` checks them, pydantic carries them, JSON Schema shows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema

from deployer.model import Upstream as UpstreamValue
from deployer.playbook import values
from deployer.playbook.source import nearest
from deployer.playbook.values import Unfit

#: What this version can set up. One place, so that a new one appears everywhere at once.
AVAILABLE_PROXIES = ("nginx",)
KNOWN_PROXIES = ("nginx", "apache", "haproxy")
AVAILABLE_ISSUERS = ("internal", "provided", "none")
KNOWN_ISSUERS = ("letsencrypt", "letsencrypt-staging", *AVAILABLE_ISSUERS)


def _one_of(what: str, known: tuple[str, ...], available: tuple[str, ...]) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value in available:
            return str(value)
        if value in known:
            why = f"this version does not have it yet; it has {', '.join(available)}"
            raise Unfit(value, f"{what} that can be used", why)
        near = nearest(str(value), available) if isinstance(value, str) else ""
        raise Unfit(value, what, near or f"there are {', '.join(available)}")

    return check


def _issuer(value: Any) -> str:
    if isinstance(value, dict):
        why = f"this version does not have ACME yet; it has {', '.join(AVAILABLE_ISSUERS)}"
        raise Unfit(dict(value), "an issuer that can be used", why)
    return _one_of("an issuer", KNOWN_ISSUERS, AVAILABLE_ISSUERS)(value)


def _list(value: Any) -> Any:
    """One value stands for a list of one."""
    return value if isinstance(value, (list, tuple)) else [value]


def _origins(value: Any) -> tuple[str, ...]:
    if value == "any":
        return ("any",)
    if not _list(value):
        raise Unfit([], "a list of origins", "leave it out for the site's own names, or write any")
    return tuple(dict.fromkeys(values.origin(each) for each in _list(value)))


def _request_path(value: Any) -> str:
    path, mark, query = str(value).partition("?")
    checked = values.url_path(path if isinstance(value, str) else value)
    if not mark:
        return checked
    import re

    if not re.fullmatch(r"[A-Za-z0-9._~@:+,=/%&!$*-]*", query):
        raise Unfit(value, "a path with a query", "write what is not ASCII or a sign as %XX")
    return f"{checked}?{query}"


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise Unfit(value, "a text", "quote it" if isinstance(value, bool) else "")
    return str(value)


def _line(value: Any) -> str:
    text = _text(value)
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise Unfit(value, "a line of text", "it has a line break or control character in it")
    return text


def _argv(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return values.split_command(value)
    if not isinstance(value, list) or not value:
        raise Unfit(value, "a command", "write a line, or a list of its words")
    words = tuple(_text(each) for each in value)
    if not words[0] or any("\0" in word for word in words):
        raise Unfit(value, "a command")
    return words


def _names(check: Callable[[Any], str]) -> Callable[[Any], tuple[str, ...]]:
    def each(value: Any) -> tuple[str, ...]:
        words = value.split(",") if isinstance(value, str) else value
        if not isinstance(words, (list, tuple)):
            raise Unfit(value, "a name or a list of names")
        return tuple(dict.fromkeys(check(w.strip() if isinstance(w, str) else w) for w in words))

    return each


def _content(value: Any) -> str:
    from deployer.playbook.filters import to_nice_json

    return to_nice_json(value) if isinstance(value, (dict, list)) else _text(value)


def _number(value: Any) -> int:
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32 - 1:
        raise Unfit(value, "a user's number")
    return value


def _schema(*kinds: str, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": list(kinds) if len(kinds) > 1 else kinds[0], **more})


def _strings(**more: Any) -> WithJsonSchema:
    items = {"type": "string"}
    return WithJsonSchema({"anyOf": [items, {"type": "array", "items": items}], **more})


Domain = Annotated[
    str,
    PlainValidator(values.domain),
    _schema("string", description="A host name or IP address.", examples=["stats.example.com"]),
]
UrlPath = Annotated[
    str,
    PlainValidator(values.url_path),
    _schema("string", description="A URL path, decoded.", pattern="^(/|.*[{]{2})", examples=["/ws"]),
]
RequestPath = Annotated[
    str,
    PlainValidator(_request_path),
    _schema("string", description="A URL path, with a query if need be.", examples=["/ws?v=2"]),
]
Upstreams = Annotated[
    tuple[UpstreamValue, ...],
    PlainValidator(lambda value: tuple(values.upstream(each) for each in _list(value))),
    _strings(description="http://HOST:PORT, https://, ws://, wss:// or unix:/PATH; one, or a list."),
]
Duration = Annotated[
    float,
    PlainValidator(values.duration_s),
    _schema("string", "number", description="A time: 500ms, 75s, 1h, 180d, or seconds."),
]
Origin = Annotated[
    str, PlainValidator(values.origin), _schema("string", examples=["https://stats.example.com"])
]
Origins = Annotated[
    tuple[str, ...],
    PlainValidator(_origins),
    _strings(description="Pages that may connect: SCHEME://HOST[:PORT]; any opens the route."),
]
Subprotocols = Annotated[
    tuple[str, ...],
    PlainValidator(lambda value: tuple(values.subprotocol(each) for each in _list(value))),
    _strings(description="Subprotocols to offer, the preferred one first."),
]
Port = Annotated[int, PlainValidator(values.port), _schema("integer", minimum=1, maximum=65535)]
Mode = Annotated[
    str, PlainValidator(values.mode), _schema("string", "integer", examples=["0644", "u=rw,g=r,o=r"])
]
AbsolutePath = Annotated[
    str, PlainValidator(values.absolute_path), _schema("string", description="An absolute path.")
]
FilePath = Annotated[
    str, PlainValidator(values.file_path), _schema("string", description="An absolute path.")
]
Email = Annotated[str, PlainValidator(values.email), _schema("string", format="email")]
Account = Annotated[str, PlainValidator(values.account), _schema("string", "integer")]
Accounts = Annotated[tuple[str, ...], PlainValidator(_names(values.account)), _strings()]
Packages = Annotated[tuple[str, ...], PlainValidator(_names(values.package)), _strings()]
Unit = Annotated[str, PlainValidator(values.unit), _schema("string")]
Number = Annotated[int, PlainValidator(_number), _schema("integer", "string", minimum=0)]
Text = Annotated[str, PlainValidator(_text), _schema("string", "number")]
Line = Annotated[str, PlainValidator(_line), _schema("string", "number")]
Content = Annotated[
    str, PlainValidator(_content), _schema("string", "number", "object", "array")
]
Argv = Annotated[
    tuple[str, ...],
    PlainValidator(_argv),
    _strings(description="A command line without a shell, or a list of its words."),
]
Proxy = Annotated[
    str,
    PlainValidator(_one_of("a proxy", KNOWN_PROXIES, AVAILABLE_PROXIES)),
    WithJsonSchema({"enum": list(AVAILABLE_PROXIES)}),
]
Issuer = Annotated[
    str, PlainValidator(_issuer), WithJsonSchema({"enum": list(AVAILABLE_ISSUERS)})
]
Words = Annotated[
    list[str],
    BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value),
    _strings(),
]
Conditions = Annotated[
    list[str | bool],
    BeforeValidator(_list),
    WithJsonSchema({"type": ["string", "boolean", "array"]}),
]
