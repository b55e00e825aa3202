"""The golden cases as HAProxy gets them: one file for all sites."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from deployer.proxies.haproxy import site as haproxy_site
from deployer.sites.model import Site
from tests.support.paths import ROOT
from tests.support.sites import engine, site_case

FOLDER = site_case.FOLDER / "haproxy"
#: The sites that nginx has golden files for, and those that matter here alone.
CASES = [*site_case.CASES, *sorted(FOLDER.glob("*.yml"))]
ROLE = ROOT / "roles/haproxy"


def load(path: Path) -> tuple[list[Site], dict[str, Any]]:
    """The sites and the variables of a case."""
    case = yaml.safe_load(path.read_text())
    sites = case.get("sites") or [case["site"]]
    host = {
        name.replace("nginx_ipv6", "haproxy_ipv6"): value
        for name, value in case.get("host", {}).items()
    }
    return [site_case.site(**site) for site in sites], host


def golden(path: Path) -> Path:
    """What a case has to come out as."""
    return FOLDER / f"{path.stem}.cfg"


def render(
    sites: Sequence[Site],
    variables: dict[str, Any] | None = None,
    *,
    template: str = "haproxy.cfg.j2",
    views: Sequence[dict[str, object]] | None = None,
) -> str:
    """The file as the playbook engine renders it, on Debian 12 unless said."""
    given = {
        **yaml.safe_load((ROLE / "defaults/main.yml").read_text()),
        "haproxy_version": "2.6.12",
        "openssl_version": "3.0.15",
        **haproxy_site.more_vars(sites),
        "haproxy_sites": views or [haproxy_site.view(site) for site in sites],
        **(variables or {}),
    }
    return engine.render(ROLE, template, given)
