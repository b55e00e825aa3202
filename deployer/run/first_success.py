"""What to do after the first commit on a host: the URL to open, and what browsers will say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from deployer.sites.model import Site
from deployer.sites.paths import has_placeholders


def next_steps(sites: Sequence[Site], *, root_file: Path | None, verify: str) -> Iterator[str]:
    """Lines for the user; `root_file` is the root of the project's CA, `verify` a command line."""
    urls = [url for site in sites if (url := url_of(site))]
    if not urls:
        return
    yield f"Open {' and '.join(urls)}"
    private = [url for site in sites if site.tls.issuer == "internal" and (url := url_of(site))]
    if private and root_file is not None:
        yield (
            "Browsers will warn that the connection is not private, because this project's own "
            f"CA issued the certificate. Its root is {root_file}: import it as an authority, or "
            f"use it once with curl --cacert {root_file} {private[0]}"
        )
    staging = [url for site in sites if site.tls.issuer == "letsencrypt-staging" and url_of(site)]
    if staging:
        yield "Browsers will warn: certificates of letsencrypt-staging are for tests only."
    yield f"Next: {verify}"


def url_of(site: Site) -> str:
    """The URL of the site's page, or of its first route; empty if it has only wildcard names."""
    name = next((name for name in site.names if not name.startswith("*")), "")
    if not name:
        return ""
    routes = [route for route in site.routes if not has_placeholders(route.path)]
    paths = [route.path for route in routes]
    pages = [route.path for route in routes if not route.websocket]
    path = "/" if "/" in paths else next(iter(pages or paths), "/")
    host = f"[{name}]" if ":" in name else name
    return f"{'https' if site.has_tls else 'http'}://{host}{site.port_in_urls}{path}"
