"""The names in the configuration that deployer itself writes are those of its sites."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deployer.proxies import PROXIES
from deployer.proxies.inspect.model import ConfigFile, ProxyState
from deployer.proxies.inspect.names import belongs_to, served_names
from tests.support.paths import CASES, ROOT

_SITES = CASES / "sites"
_FOLDERS = {"nginx": _SITES, "apache": _SITES / "apache", "haproxy": _SITES / "haproxy"}


def _written() -> list[tuple[str, Path]]:
    return [
        (proxy, path)
        for proxy, folder in _FOLDERS.items()
        for path in sorted(folder.iterdir())
        if path.suffix in (".conf", ".cfg") and _names(path)
    ]


def _names(path: Path) -> set[str]:
    """The names of the sites in the case of a file; none if there is no case of that name."""
    for folder in (path.parent, _SITES):
        case = folder / f"{path.stem}.yml"
        if case.exists():
            document = yaml.safe_load(case.read_text())
            sites = document.get("sites") or [document["site"]]
            return {
                name.lower()
                for site in sites
                for name in (site["domain"], *site.get("aliases", ()))
            }
    return set()


def _state(proxy: str, *files: ConfigFile) -> ProxyState:
    listeners = ("0.0.0.0:80", "0.0.0.0:443")
    return ProxyState(proxy=proxy, config=files, listeners=listeners)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("proxy", "path"), _written(), ids=lambda each: getattr(each, "stem", each)
)
def test_own_names(proxy: str, path: Path) -> None:
    text = path.read_text()
    text = f"http {{ {text} }}" if proxy == "nginx" else text
    file = ConfigFile(path=f"/etc/{proxy}/file", text=text)
    found = [each for each in served_names((_state(proxy, file),)) if each.name]
    assert {each.name for each in found} >= _names(path) - {"192.0.2.7"}
    assert [each.name for each in found if not belongs_to(each, _names(path))] == []


def test_shared_settings_have_no_names() -> None:
    text = (ROOT / "roles/nginx/templates/http.conf.j2").read_text()
    server = "server { listen 80 default_server; }"
    file = ConfigFile(path="/etc/nginx/nginx.conf", text=f"http {{ {text} {server} }}")
    assert {each.name for each in served_names((_state("nginx", file),))} == {""}
    assert set(_FOLDERS) == set(PROXIES)
