"""Checks of upstreams that are one of several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from deployer.model import Value
from deployer.playbook.schema.values import InvalidValue, domain, ip_address, upstream
from deployer.playbook.yaml.source import nearest
from deployer.sites.model import Upstream

_OF_TLS = ("verify", "sni")
_OF_MEMBERS = ("url", "weight", "backup", "max_conns", "send_proxy", *_OF_TLS)


def member(value: Value) -> Upstream:
    """An upstream: its URL, or a mapping with it and what it gets of several."""
    if not isinstance(value, Mapping):
        return upstream(value)
    what = "an upstream"
    for key in value:
        if key not in _OF_MEMBERS:
            near = nearest(str(key), _OF_MEMBERS) or f"known keys: {', '.join(_OF_MEMBERS)}"
            raise InvalidValue(value, f"{what}, because of {key!r}", near)
    if "url" not in value:
        raise InvalidValue(value, what, "it has no 'url'")
    if not isinstance(value.get("backup", False), bool):
        raise InvalidValue(value, what, "its 'backup' must be true or false")
    send_proxy = value.get("send_proxy", "")
    if send_proxy not in ("v1", "v2", ""):
        raise InvalidValue(value, what, "its send_proxy must be v1 or v2")
    found = upstream(value["url"])
    for key in _OF_TLS:
        if key in value and not found.tls:
            raise InvalidValue(value, what, f"its '{key}' requires https:// or wss://")
    verify, ca = _verify(value)
    return replace(
        found,
        verify=verify,
        ca=ca,
        sni=_sni(value),
        send_proxy=send_proxy,
        weight=_count(value, "weight", 256) or 1,
        backup=value.get("backup", False),
        max_conns=_count(value, "max_conns", 1_000_000),
    )


def _verify(value: Mapping[str, Value]) -> tuple[Literal["", "system", "file"], str]:
    """How its certificate is verified, and the file of the CA's certificate."""
    given = value.get("verify", False)
    if isinstance(given, bool):
        return "system" if given else "", ""
    if isinstance(given, str) and given.strip() and given.isprintable():
        return "file", given
    why = "its verify must be true, false, or a file with certificates of CAs"
    raise InvalidValue(dict(value), "an upstream", why)


def _sni(value: Mapping[str, Value]) -> str:
    if "sni" not in value:
        return ""
    try:
        name = domain(value["sni"], wildcard=False)
    except InvalidValue as error:
        raise InvalidValue(dict(value), "an upstream", f"sni: {error}") from None
    if ip_address(name) is not None:
        raise InvalidValue(dict(value), "an upstream", "its sni must be a name, not an address")
    return name.lower()


def _count(value: Mapping[str, Value], key: str, most: int) -> int | None:
    number = value.get(key)
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= most:
        why = f"its {key} must be a number from 1 to {most}"
        raise InvalidValue(dict(value), "an upstream", why)
    return number
