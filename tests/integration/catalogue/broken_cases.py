"""The cases of cases/*.yml: a broken configuration, its healthy twin, and what has to be found."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml

from deployer.model import Proxy
from tests.integration.catalogue.scripted_services import PORTS

PROXIES: tuple[Proxy, ...] = ("nginx", "apache", "haproxy")
DOMAIN = "cat.test"
_FOLDER = Path(__file__).parent / "cases"
_PORT = re.compile(r"<([a-z0-9 -]+)>")
_FIRST_FRONTEND = 20001
_Kind = Literal["broken", "healthy"]
_KINDS: tuple[_Kind, ...] = ("broken", "healthy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The finding: `hop` is the one at fault, `at` the lines of the configuration it may point at
    (no matter which where empty)."""

    code: str
    hop: str
    severity: str
    at: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """One configuration of a case, and the address under which it is served.

    `expected` is `None` for the healthy one, which must not have `code`. `row` is 0 where there is
    no broken one. `status` is what a handshake gets, `None` where the case does not say.
    """

    proxy: Proxy
    case: str
    name: str
    row: int
    url: str
    config: str
    http: str
    code: str
    expected: Expected | None
    status: int | None
    subprotocols: tuple[str, ...]
    expect: str
    certificate: str
    alpn: str

    @property
    def port(self) -> int:
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme in ("wss", "https") else 80)

    @property
    def is_like(self) -> tuple[object, ...]:
        """What is the same in two twins between which only their names differ."""
        parts = urlsplit(self.url)
        return (
            *(self.proxy, self.config.replace(self.name, ""), self.certificate, self.alpn),
            *(parts.scheme, parts.path, self.port if self.proxy != "haproxy" else 0),
            *(self.subprotocols, self.expect),
        )

    def __str__(self) -> str:
        return f"{self.proxy}-{self.name}"


def alike(twin: Twin) -> Twin:
    """The first healthy twin with the same configuration: one look at it suffices for all."""
    if twin.expected is not None:
        return twin
    return next(
        each
        for each in of_proxy(twin.proxy)
        if each.expected is None and each.is_like == twin.is_like
    )


def twins() -> tuple[Twin, ...]:
    """Both of every case, of all proxies."""
    return tuple(twin for proxy in PROXIES for twin in of_proxy(proxy))


@functools.cache
def of_proxy(proxy: Proxy) -> tuple[Twin, ...]:
    """Those that one proxy serves, in the order of their file."""
    return tuple(_of(proxy))


def _of(proxy: Proxy) -> Iterator[Twin]:
    documents: list[dict[str, Any]] = yaml.safe_load((_FOLDER / f"{proxy}.yml").read_text())
    frontend = _FIRST_FRONTEND
    for document in documents:
        for kind in _of_both(document):
            own_port = document.get("port", 443)
            if proxy == "haproxy":
                own_port, frontend = frontend, frontend + 1
            yield _twin(proxy, document, kind, own_port=own_port)


def _twin(proxy: Proxy, document: Mapping[str, Any], kind: _Kind, *, own_port: int) -> Twin:
    is_broken = kind == "broken"
    case = document["case"]
    name = f"{case}-{kind}"
    path = document.get("path", "/ws")
    url = document.get("url", "")
    if not is_broken:
        path = document.get("healthy_path", path)
        url = document.get("healthy_url", url)
    host = f"{name}.{DOMAIN}"
    where = host if own_port == 443 else f"{host}:{own_port}"
    expected = None
    if is_broken:
        expected = Expected(
            code=document["finds"],
            hop=document.get("hop", "proxy"),
            severity=document.get("severity", "error"),
            at=tuple(
                _ported(line).replace("PORT", str(own_port)) for line in document.get("at", ())
            ),
        )
    return Twin(
        proxy=proxy,
        case=case,
        name=name,
        row=document.get("row", 0),
        url=url.replace("NAME", host).replace("PORT", str(own_port)) or f"wss://{where}{path}",
        config=_ported(document[kind]).replace("NAME", name),
        http=_ported(document.get("http", "")) if kind == _of_both(document)[0] else "",
        code=document.get("finds", ""),
        expected=expected,
        status=document.get("status") if is_broken else None,
        subprotocols=tuple(document.get("subprotocols", ())),
        expect=document.get("expect", ""),
        certificate=document.get("certificate", "full") if is_broken else "full",
        alpn=document.get("alpn", ""),
    )


def _of_both(document: Mapping[str, Any]) -> list[_Kind]:
    return [kind for kind in _KINDS if kind in document]


def _ported(text: str) -> str:
    return _PORT.sub(lambda found: str(PORTS[found[1]]), text)
