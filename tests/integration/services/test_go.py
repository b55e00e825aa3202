"""A Go service with golang.org/x/net/websocket, built on the host, behind each proxy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from deployer.proxies import PROXIES
from tests.support.clients.site_pages import page
from tests.support.paths import PROGRAMS
from tests.support.runs import deployer
from tests.support.waiting import PATIENCE_S

#: Building it takes a host a minute; the releases of built services are in test_releases.py.
pytestmark = [pytest.mark.lab, pytest.mark.slow]

BUILD = "GOPATH=/usr/share/gocode GO111MODULE=off CGO_ENABLED=0 GOCACHE=/var/cache/go-build"


@pytest.fixture(scope="module")
def project(
    shared_lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LabHost, Path]]:
    """The ready playbook, applied as it is, and a Go client on the host."""
    (host,) = shared_lab.hosts
    folder = tmp_path_factory.mktemp("go")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert deployer("init", "go-websocket").code == 0
        shared_lab.write_inventory(folder / "inventory.yml")
        applied = deployer("apply", "site.yml", "--yes", timeout_s=PATIENCE_S)
        assert applied.code == 0, applied
        put(host, PROGRAMS / "go_client/main.go", "/root/client/main.go")
        put(host, folder / ".deployer/ca/root.pem", "/root/root.pem")
        host.sh(
            f"cd /root/client && {BUILD} go build -o /root/client/client .", timeout_s=PATIENCE_S
        )
        yield host, folder


def put(host: LabHost, source: Path, target: str) -> None:
    host.sh(f"mkdir -p {Path(target).parent} && cat > {target} <<'END'\n{source.read_text()}\nEND")


def ask(host: LabHost, path: str, *subprotocols: str) -> dict[str, Any]:
    """What the Go client gets: `answer`, or `error` in its words."""
    words = [
        "/root/client/client",
        "127.0.0.1:443",
        "/root/root.pem",
        f"wss://go.example.com{path}",
    ]
    said: dict[str, Any] = json.loads(host.exec([*words, *subprotocols]).stdout)
    return said


def test_it_is_a_release_of_what_was_built(project: tuple[LabHost, Path]) -> None:
    host, _ = project
    current = host.sh("readlink /opt/goservice/current").strip()
    assert current.startswith("releases/")
    main = host.sh("systemctl show -P MainPID goservice").strip()
    assert host.sh(f"readlink /proc/{main}/exe").strip() == f"/opt/goservice/{current}/server"
    assert host.sh("stat -c '%U %G %a' /etc/default/goservice").split() == ["root", "root", "600"]
    limits = host.sh(f"grep 'open files' /proc/{main}/limits").split()
    assert limits[3] == limits[4] != "1024"  # all that the unit asks for, or that this host has


@pytest.mark.parametrize("proxy", PROXIES)
def test_go_s_own_client_gets_its_pong(proxy: str, project: tuple[LabHost, Path]) -> None:
    """One word is changed, and the service is behind another proxy."""
    host, folder = project
    text = (folder / "site.yml").read_text()
    (folder / "site.yml").write_text(text.replace("proxy: nginx", f"proxy: {proxy}"))
    try:
        applied = deployer("apply", "site.yml", "--yes")
    finally:
        (folder / "site.yml").write_text(text)
    assert applied.code == 0, applied
    assert ask(host, "/sock") == {"answer": "pong", "error": ""}
    assert ask(host, "/sock?room=%2F1") == {"answer": "pong", "error": ""}
    assert ask(host, "/sock", "chat", "superchat")["answer"] == "pong"
    # The path is exact, and nothing redirects: x/net's client follows no redirects.
    assert "bad status" in ask(host, "/sock/")["error"]
    assert "bad status" in ask(host, "/sockx")["error"]
    root_pem = folder / ".deployer/ca/root.pem"
    found = {
        path: page(host, f"https://go.example.com{path}", root_pem=root_pem).status
        for path in ("/", "/sock/", "/sock")
    }
    assert found == {"/": 200, "/sock/": 404, "/sock": 400}  # 400: x/net's word for no upgrade
