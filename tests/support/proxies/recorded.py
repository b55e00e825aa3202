"""What real hosts have said of proxies that were broken by hand; each is one proxy of a reply."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from deployer.proxies.inspect.model import ConfigFile, Fault, ProxyState, inspection_from_json
from tests.support.paths import CASES

_FOLDER = CASES / "inspection"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a handshake got: 0 for no answer; `seen` is the path that reached the service."""

    name: str
    path: str
    status: int
    seen: str
    host: str

    def __str__(self) -> str:
        return f"{self.name}{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A configuration, what checks see, and the finding and line that explain it."""

    name: str
    text: str
    symptom: str
    code: str
    line: str
    status: int = 0

    def __str__(self) -> str:
        return self.name


def first_for(found: Iterable[Fault], symptom: str, *, status: int = 0) -> Fault | None:
    """The first of the faults that explains `symptom`, and an answer with that status."""
    fitting = (
        each
        for each in found
        if symptom in each.explains and (not each.statuses or status in each.statuses)
    )
    return next(fitting, None)


def recorded(name: str) -> ProxyState:
    """The state of one proxy."""
    document = _document(name)
    state = {key: value for key, value in document.items() if key != "measured"}
    return inspection_from_json({"proxies": [state], "notes": []}).proxies[0]


def measured(name: str) -> list[Measured]:
    """What handshakes through that proxy got, while it had that configuration."""
    keys = ("name", "path", "status", "seen", "host")
    return [Measured(**dict(zip(keys, row, strict=True))) for row in _document(name)["measured"]]


def apache(text: str, **more: Any) -> ProxyState:
    """An Apache whose only file is `text`, which prints nothing of itself."""
    file = ConfigFile(path="/etc/apache2/sites-enabled/site.conf", text=text)
    return ProxyState(proxy="apache", version="2.4.71", config=(file,), **more)


def haproxy(text: str, **more: Any) -> ProxyState:
    """A HAProxy whose only file is `text`."""
    file = ConfigFile(path="/etc/haproxy/haproxy.cfg", text=text)
    return ProxyState(proxy="haproxy", version="2.6.12", config=(file,), **more)


@cache
def _document(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((_FOLDER / f"{name}.json").read_text())
    return document
