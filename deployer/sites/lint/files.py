"""Notes on URLs of the sites in files that a playbook writes: pages, units, settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from deployer.model import Resource
from deployer.sites.lint.checks import route_of
from deployer.sites.lint.note import Note, warning
from deployer.sites.model import Site

_ADDRESS = re.compile(r"\b(wss?)://([A-Za-z0-9.-]+)((?::[0-9]+)?)(/[^\s\"'`<>\\),;&]*)?")
_OPTION = re.compile(r"--(ws-url|port|ssl-cert)[= ]\"?([^\s\"]+)")
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
_LARGEST_BYTES = 1_048_576


def lint_files(
    sites: Sequence[Site], resources: Iterable[Resource], *, shipped: str
) -> Iterator[Note]:
    """The notes on files of a host's playbook that mention its sites.

    If a task below the folder `shipped` writes the file, the note points at the site instead, which
    is what the user wrote.
    """
    by_name = {name: site for site in sites for name in site.names}
    if not by_name:
        return
    for resource in resources:
        text = _text_of(resource)
        if "ws://" not in text and "wss://" not in text:
            continue
        is_built_in = resource.source is not None and resource.source.file.startswith(shipped)
        if is_built_in:
            resource = replace(resource, source=None)
        yield from _addresses(resource, text, by_name)
        if "goaccess" in text:
            yield from _goaccess(resource, text, by_name)


def _text_of(resource: Resource) -> str:
    content = resource.content
    if resource.secret or content is None or len(content) > _LARGEST_BYTES or b"\0" in content:
        return ""
    return content.decode("utf-8", "replace")


def _addresses(resource: Resource, text: str, sites: dict[str, Site]) -> Iterator[Note]:
    seen: set[str] = set()
    for found in _ADDRESS.finditer(text):
        scheme, name, port = found[1], found[2].lower(), found[3]
        site = sites.get(name)
        if site is None or found[0] in seen:
            continue
        seen.add(found[0])
        own = ("", ":80", ":443", site.port_in_urls)
        if scheme == "ws" and site.has_tls and port in own:
            yield warning(
                "ws-on-https",
                f"{resource.name} contains {found[0]}, but {name} is served with TLS",
                "Browsers block it on a page loaded over https, and no WebSocket client "
                f"follows the redirect of port 80: write wss://{name}{site.port_in_urls}.",
                resource.source or site.at("tls"),
            )
        elif scheme == "wss" and not site.has_tls and port in ("", ":443", site.port_in_urls):
            yield warning(
                "wss-on-http",
                f"{resource.name} contains {found[0]}, but {name} is served without TLS",
                f"The site does not speak TLS: write ws://{name}{site.port_in_urls}, or give it "
                "a certificate under tls.",
                resource.source or site.at("tls", "domain"),
            )
        elif port in own and _is_unserved(site, found[4]):
            yield warning(
                "ws-path",
                f"{resource.name} contains {found[0]}, but no websocket route of {site.domain} "
                f"serves {found[4]}",
                "Clients would get 404, or a page: use the same path in the file and the route.",
                resource.source or site.at("routes"),
            )


def _is_unserved(site: Site, path: str | None) -> bool:
    """Whether no WebSocket is served at `path`; false if a program completes the path."""
    if path is None or path.endswith("/") or set(path) & set("${}%+*"):
        return False
    route = route_of(site, path.rstrip(".:!"))
    return route is None or not route.websocket


def _goaccess(resource: Resource, text: str, sites: dict[str, Site]) -> Iterator[Note]:
    """Notes on GoAccess, whose page connects to ``--ws-url`` and may add its own port to it."""
    options = {found[1]: found[2] for found in _OPTION.finditer(_COMMENT.sub("", text))}
    address = _ADDRESS.fullmatch(options.get("ws-url", ""))
    site = sites.get(address[2].lower()) if address else None
    if address is None or site is None:
        return
    port = options.get("port", "7890")
    if not address[3]:
        yield warning(
            "ws-url-port",
            f"{resource.name}: GoAccess's page would connect to port {port} of {address[2]}",
            f"It adds its own port to a URL that has none: write "
            f"{address[1]}://{address[2]}:{site.serving_port}{address[4] or '/'}.",
            resource.source or site.at("domain"),
        )
    route = route_of(site, address[4] or "/")
    if route is None or not route.websocket:
        return
    if all(str(upstream.port) != port for upstream in route.upstreams):
        yield warning(
            "ws-url-service",
            f"{route.path}: leads to {route.upstreams[0]}, but GoAccess listens on port {port}",
            "Clients will get 502: use GoAccess's port in the route.",
            route.at("websocket"),
        )
    elif ("ssl-cert" in options) != route.upstreams[0].tls:
        yield warning(
            "ws-url-service",
            f"{route.path}: speaks {'https' if route.upstreams[0].tls else 'http'} to a "
            f"GoAccess {'with' if 'ssl-cert' in options else 'without'} --ssl-cert",
            "Clients will get 502: the site's proxy already terminates TLS, so remove --ssl-cert, "
            "and use http:// in the route.",
            route.at("websocket"),
        )
