"""Decide whether a page's Content-Security-Policy allows a WebSocket. Pure.

Browsers disagree: whether ``'self'`` or ``https://host`` cover ``wss://host`` depends on the
browser and its version. Only what all browsers block counts as blocked here.
Source: https://www.w3.org/TR/CSP3/, sections 6.1.2 and 6.7.2.
"""

from __future__ import annotations

from collections.abc import Iterable

from deployer.text.numbers import is_number
from deployer.verify.net.address import Address

_SCHEMES = {"ws", "wss", "http", "https"}


def blocking_directive(policies: Iterable[str], page: Address, endpoint: Address) -> str:
    """Return the directive that keeps `page` from connecting to `endpoint`, or an empty text.

    `policies` are the values of the headers, each of which may have several separated by commas.
    """
    for value in policies:
        for policy in value.split(","):
            directive = _effective(policy)
            if directive is None:
                continue
            name, *sources = directive.split()
            if not any(_may_cover(source, page, endpoint) for source in sources):
                return " ".join((name, *sources))
    return ""


def upgrades_insecure(policies: Iterable[str]) -> bool:
    """Whether browsers upgrade ws:// to wss:// on such a page."""
    return any(
        each.strip().lower().startswith("upgrade-insecure-requests")
        for value in policies
        for policy in value.split(",")
        for each in policy.split(";")
    )


def _effective(policy: str) -> str | None:
    """Return ``connect-src``, or else ``default-src``; the first of each name counts."""
    found: dict[str, str] = {}
    for part in policy.split(";"):
        name = part.strip().partition(" ")[0].lower()
        found.setdefault(name, part.strip())
    return found.get("connect-src", found.get("default-src"))


def _may_cover(source: str, page: Address, endpoint: Address) -> bool:
    source = source.lower()
    if source == "*":
        return True
    if source == "'self'":
        return (page.name, page.port) == (endpoint.name, endpoint.port) or _both_default(
            page, endpoint
        )
    if source.startswith("'"):
        return False  # 'none', nonces and hashes allow no connection
    scheme, has_scheme, rest = source.partition("://")
    if not has_scheme:
        if source.endswith(":"):
            return source[:-1] in _SCHEMES
        rest = source
    elif scheme not in _SCHEMES:
        return False
    host, _, path = rest.partition("/")
    return _covers_host(host, endpoint) and _covers_path(path, endpoint)


def _both_default(page: Address, endpoint: Address) -> bool:
    return page.name == endpoint.name and page.has_default_port and endpoint.has_default_port


def _covers_host(pattern: str, endpoint: Address) -> bool:
    name, port = pattern, ""
    if not pattern.endswith("]"):
        before, colon, after = pattern.rpartition(":")
        if colon and (after == "*" or is_number(after)):
            name, port = before, after
    is_port = port in ("*", str(endpoint.port)) or (not port and endpoint.has_default_port)
    if name.startswith("*."):
        return is_port and endpoint.name.endswith(name[1:])
    return is_port and name in ("*", endpoint.bare_host)


def _covers_path(path: str, endpoint: Address) -> bool:
    if not path:
        return True
    whole = f"/{path}"
    return (
        endpoint.path.startswith(whole) if whole.endswith("/") else endpoint.path.lower() == whole
    )
