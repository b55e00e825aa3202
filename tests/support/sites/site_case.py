"""A golden case: a site and a host in YAML, and next to it the file that nginx gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from deployer.model import SourceRef
from deployer.proxies.nginx import site as nginx_site
from deployer.sites.model import Route, Site, Tls, Upstream
from tests.support import paths
from tests.support.sites import engine

FOLDER = paths.CASES / "sites"
CASES = sorted(FOLDER.glob("*.yml"))
ROLE = paths.ROOT / "roles/nginx"
HOST = {
    "nginx_version": "1.22.1",
    "openssl_version": "3.0.15",
    "nginx_ipv6": True,
    "nginx_lua": True,
}


def load(path: Path) -> tuple[Site, dict[str, Any]]:
    """The site and the variables of a case."""
    case = yaml.safe_load(path.read_text())
    return site(**case["site"]), {**HOST, **case.get("host", {})}


def site(**values: Any) -> Site:
    """A site in short: upstreams as URLs, `tls` as the fields of `Tls`."""
    routes = tuple(route(**fields) for fields in values.pop("routes", []))
    tls = Tls(**values.pop("tls", {"issuer": "internal"}))
    aliases = tuple(values.pop("aliases", ()))
    return Site(
        **values, aliases=aliases, tls=tls, routes=routes, source=SourceRef("site.yml", 1, 1)
    )


def route(**values: Any) -> Route:
    """A route as in a playbook: `websocket` and `upstream` are a URL or several."""
    websocket = values.pop("websocket", None)
    urls = websocket or values.pop("upstream", [])
    urls = [urls] if isinstance(urls, str) else urls
    if "origins" in values:
        values["origins"] = tuple(values["origins"])
    values.setdefault("source", SourceRef("site.yml", 2, 3))
    return Route(
        **values, websocket=bool(websocket), upstreams=tuple(upstream(url) for url in urls)
    )


def upstream(url: str) -> Upstream:
    if url.startswith("unix:"):
        return Upstream(socket=url.removeprefix("unix:"))
    scheme, _, address = url.partition("://")
    host, _, port = address.rpartition(":")
    return Upstream(host=host.strip("[]"), port=int(port), tls=scheme == "https")


def render(site: Site, variables: dict[str, Any], *, template: str = "site.conf.j2") -> str:
    """The file as the playbook engine renders it."""
    given = {**nginx_site.more_vars([site]), **variables, "item": nginx_site.view(site)}
    return engine.render(ROLE, template, given)
