"""The golden cases as Apache gets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from deployer.proxies.apache import site as apache_site
from deployer.sites.model import Site
from tests.support.paths import ROOT
from tests.support.sites import engine, site_case

FOLDER = site_case.FOLDER / "apache"
#: The sites that nginx has golden files for, and those that matter here alone.
CASES = [*site_case.CASES, *sorted(FOLDER.glob("*.yml"))]
ROLE = ROOT / "roles/apache"


def load(path: Path) -> tuple[Site, dict[str, Any]]:
    """The site and the variables of a case; those that are nginx's own say nothing here."""
    case = yaml.safe_load(path.read_text())
    return site_case.site(**case["site"]), case.get("host", {})


def golden(path: Path) -> Path:
    """What a case has to come out as."""
    return FOLDER / f"{path.stem}.conf"


def render(site: Site, variables: dict[str, Any] | None = None) -> str:
    """The file of a site as the playbook engine renders it, on Debian 12 unless said."""
    return template("site.conf.j2", item=apache_site.view(site), **(variables or {}))


def template(name: str, **variables: Any) -> str:
    """One of the role's templates, with the role's defaults for what is not said."""
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    debian = {"apache_version": "2.4.67", "openssl_version": "3.0.15"}
    return engine.render(ROLE, name, {**defaults, **debian, **variables})
