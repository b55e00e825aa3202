"""Find the WebSockets that a page opens, from its text. Pure.

Scripts are searched, not run: for addresses that are written out, addresses built from the page's
own host and a path, and the settings of GoAccess, Action Cable and Socket.IO.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

from deployer.errors import UsageError
from deployer.verify.net.address import Address, parse_address
from deployer.verify.page.markup import tags

How = Literal["written", "built", "goaccess", "action-cable", "socket.io"]

_MOST_FOUND = 4
_MOST_SCRIPTS = 5
#: No real page has more.
_MOST_URLS = 200

_QUOTED = r"""(?P<quote>["'`])(?P<url>(?:wss?|https?)://[A-Za-z0-9\[][^"'`\s<>$]*)(?P=quote)"""
_NEW = re.compile(rf"new\s+(?:window\.)?WebSocket\s*\(\s*{_QUOTED}")
_ASSIGNED = re.compile(_QUOTED.replace("(?:wss?|https?)", "wss?"))
_OWN_HOST = re.compile(
    r"""location\.host\s*(?:\+\s*["'`]|\}?)(?P<path>/[^"'`\s<>$?]*)["'`]""",
)
_OPENS = re.compile(r"new\s+(?:window\.)?WebSocket\s*\(")
_GOACCESS = re.compile(r"\bconnection\s*=\s*(\{[^{}]{0,500}\})")
_HAS_PORT = re.compile(r"^(wss?://)?[^/]+:[0-9]{1,5}/")
#: Not `${scheme}//${location.host}/path`, which ends with a backquote.
_COMMENTS = re.compile(
    r"/\*.*?(?:\*/|\Z)|(?:(?<=\s)|(?<=[;{])|^)//[^\n]*|(?<=\})//[^\n`]*$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageWebSocket:
    """A WebSocket that a page opens; `written` is its address as the page has it.

    `intended` is the address that the author most likely wanted, if the one that the page uses is a
    known mistake (GoAccess).
    """

    address: Address
    how: How
    written: str
    intended: Address | None = None
    subprotocols: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The parts of a page: its inline scripts, the addresses of others, and its policies."""

    scripts: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    cable: str = ""


def parse_page(text: str) -> Page:
    """Return the parts of the HTML in `text` that may open WebSockets."""
    scripts, sources, policies, cable = [], [], [], ""
    for tag in tags(text):
        values = tag.attributes
        if tag.name == "script":
            kind = values.get("type", "").lower()
            if kind in ("", "module") or "javascript" in kind:
                scripts.append(tag.text)
            if values.get("src"):
                sources.append(values["src"])
        elif tag.name == "meta":
            if values.get("http-equiv", "").lower() == "content-security-policy":
                policies.append(values.get("content", ""))
            if values.get("name") == "action-cable-url":
                cable = values.get("content", "")
    return Page(
        scripts=tuple(scripts), sources=tuple(sources), policies=tuple(policies), cable=cable
    )


def scripts_to_read(page: Page, at: Address) -> tuple[Address, ...]:
    """Return the page's first scripts on its own server."""
    own = [at.redirect_target(source) for source in page.sources]
    return tuple(each for each in own if each and (each.name, each.port) == (at.name, at.port))[
        :_MOST_SCRIPTS
    ]


def websockets_of(
    page: Page, at: Address, *, more: tuple[str, ...] = ()
) -> tuple[PageWebSocket, ...]:
    """Return the WebSockets that `page` at address `at` opens; `more` are texts of its scripts."""
    found: dict[str, PageWebSocket] = {}
    for opened in _all(page, at, (*page.scripts, *more)):
        found.setdefault(opened.address.uri, opened)
    return tuple(found.values())[:_MOST_FOUND]


def _all(page: Page, at: Address, scripts: tuple[str, ...]) -> list[PageWebSocket]:
    found = []
    is_goaccess = False
    for script in scripts:
        connection = _GOACCESS.search(script)
        opened = _goaccess(connection[1], at, scripts) if connection else None
        if opened is not None:
            is_goaccess = True
            found.append(opened)
    if is_goaccess:
        return found
    for script in scripts:
        found += _written(_COMMENTS.sub("", script), at)
    if page.cable:
        cable = _websocket(page.cable, at)
        if cable is not None:
            found.append(
                PageWebSocket(
                    address=cable,
                    how="action-cable",
                    written=page.cable,
                    subprotocols=("actioncable-v1-json", "actioncable-unsupported"),
                )
            )
    if any("/socket.io/socket.io" in source for source in page.sources):
        target = "/socket.io/?EIO=4&transport=websocket"
        io = _websocket(target, at)
        if io is not None:
            found.append(PageWebSocket(address=io, how="socket.io", written=target))
    return found


def _written(script: str, at: Address) -> list[PageWebSocket]:
    """Return the addresses in a script that opens WebSockets."""
    if not _OPENS.search(script):
        return []
    urls = [found["url"] for found in _NEW.finditer(script)]
    urls += [found["url"] for found in _ASSIGNED.finditer(script)]
    urls = list(dict.fromkeys(urls))[:_MOST_URLS]
    # A page that has the same address with both schemes selects the right one itself.
    secure = {url.partition("://")[2] for url in urls if url.startswith("wss:")}
    kept = [
        url for url in urls if not (url.startswith("ws:") and url.partition("://")[2] in secure)
    ]
    found = [
        PageWebSocket(address=address, how="written", written=url)
        for url in kept
        if (address := _websocket(url, at)) is not None
    ]
    for path in dict.fromkeys(each["path"] for each in _OWN_HOST.finditer(script)):
        own = _websocket(path, at)
        if own is not None:
            found.append(PageWebSocket(address=own, how="built", written=f"location.host + {path}"))
    return found


def _websocket(url: str, at: Address) -> Address | None:
    """Return a WebSocket's address as a browser resolves it on a page at `at`."""
    try:
        if "://" in url:
            address = parse_address(url)
        elif url.startswith("/"):
            address = at.at(url)
        else:
            return None
    except UsageError:
        return None
    text = address.websocket_uri
    return parse_address(text)


def _goaccess(text: str, at: Address, scripts: tuple[str, ...]) -> PageWebSocket | None:
    """Return where a GoAccess report connects. Source: its resources/js/app.js, 1.7 and 1.11.

    A URL without a port gets the port of the setting: newer versions put it after the host, older
    ones at the very end.
    """
    try:
        connection = json.loads(text)
        url, port = str(connection.get("url") or at.bare_host), int(connection["port"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    scheme = "wss" if at.is_secure else "ws"
    whole = url if re.match(r"wss?://", url, re.IGNORECASE) else f"{scheme}://{url}"
    try:
        intended = parse_address(whole)
        if _HAS_PORT.match(f"{url}/"):
            return PageWebSocket(address=intended, how="goaccess", written=url)
        is_newer = any("buildWSURI" in script for script in scripts)
        if is_newer:
            address = parse_address(
                f"{whole.partition('://')[0]}://{intended.bare_host}:{port}{intended.target}"
            )
        else:
            address = parse_address(f"{whole}:{port}")
    except UsageError:
        return None
    return PageWebSocket(address=address, how="goaccess", written=url, intended=intended)
