"""Bisheng's site before a real FastAPI on uvicorn, behind the nginx that is part of Bisheng."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.support.clients.site_pages import page
from tests.support.clients.site_websocket import connected
from tests.support.paths import PROGRAMS
from tests.support.ready_playbooks import PROXIES, Deployed, deployed
from tests.support.waiting import until

pytestmark = pytest.mark.lab

NAME = "bisheng.example.com"
LOGIN = {"Cookie": "access_token_cookie=a-login"}
#: Bisheng's WebSockets, and what the service makes of each path.
SOCKETS: Mapping[str, dict[str, Any]] = {
    "/api/v1/workflow/chat/abc?chat_id=7": {"workflow_id": "abc", "chat_id": "7"},
    "/workspace/api/v1/workflow/chat/abc?chat_id=7": {"workflow_id": "abc", "chat_id": "7"},
    "/api/v1/assistant/chat/def?t=a-login": {"assistant_id": "def"},
    "/api/v1/linsight/workbench/task-message-stream?session_version_id=9": {
        "session_version_id": "9"
    },
}


def start_bisheng(host: LabHost) -> None:
    """FastAPI on 7860, its nginx on 3001; the host's own nginx is not to run."""
    packages = "nginx python3-fastapi python3-uvicorn python3-websockets"
    install = "DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends"
    unit = "/etc/systemd/system/nginx.service"
    host.sh(f"ln -s /dev/null {unit}; {install} {packages} >/dev/null; rm {unit}")
    host.sh("systemctl daemon-reload; systemctl disable nginx")
    host.sh("mkdir -p /srv/bisheng; echo '<title>BISHENG</title>' > /srv/bisheng/index.html")
    for name in ("backend.py", "nginx.conf"):
        host.exec(
            ["sh", "-c", f"cat > /srv/{name}"], stdin=(PROGRAMS / "bisheng" / name).read_text()
        )
    uvicorn = "python3 -m uvicorn --app-dir /srv --port 7860 backend:app"
    host.sh(f"systemd-run -q --unit=bisheng-backend {uvicorn}")
    host.sh("systemd-run -q --unit=bisheng-frontend nginx -c /srv/nginx.conf -g 'daemon off;'")
    for port in (7860, 3001):
        until(lambda port=port: host.sh(f"ss -Hltn 'sport = :{port}'") != "")


@pytest.fixture(scope="module")
def project(shared_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lab, Path]:
    """A host on which Bisheng runs, and a folder for its playbook."""
    start_bisheng(shared_lab.hosts[0])
    return shared_lab, tmp_path_factory.mktemp("bisheng")


@pytest.fixture(scope="module", params=PROXIES)
def bisheng(project: tuple[Lab, Path], request: pytest.FixtureRequest) -> Deployed:
    """The ready playbook, applied; one proxy takes over from the other."""
    lab, folder = project
    return deployed("bisheng", folder, lab=lab, host=lab.hosts[0], proxy=request.param)


def test_every_websocket_of_it(bisheng: Deployed) -> None:
    assert bisheng.applied.code == 0, bisheng.applied
    passed = "answered 403, like the service itself: login required (404 without an upgrade)"
    assert bisheng.applied.out.count(passed) == 4, bisheng.applied  # with Origin and without
    for path, about in SOCKETS.items():
        url = f"wss://{NAME}{path}"
        with connected(bisheng.host, url, bisheng.root_pem, headers=LOGIN) as client:
            begun = json.loads(client.recv())
            assert begun.items() >= {"type": "begin", **about}.items()
            client.send("你好")
            assert json.loads(client.recv()) == {"type": "end", "said": "你好"}


def test_clients_without_access(bisheng: Deployed) -> None:
    """Bisheng rejects clients without the cookie; the proxy rejects other origins."""
    url = f"wss://{NAME}/api/v1/workflow/chat/abc"
    without: dict[str, str] = {}
    elsewhere = "https://elsewhere.example"
    for headers, origin in ((without, ""), (LOGIN, elsewhere)):
        with (
            pytest.raises(InvalidStatus) as refused,
            connected(bisheng.host, url, bisheng.root_pem, headers=headers, origin=origin),
        ):
            pass
        assert refused.value.response.status_code == 403


def test_pages_files_and_addresses(bisheng: Deployed) -> None:

    def asked(path: str, body: bytes | None = None) -> str:
        forged = {"X-Forwarded-For": "6.6.6.6"}
        answer = page(
            bisheng.host,
            f"https://{NAME}{path}",
            root_pem=bisheng.root_pem,
            headers=forged,
            body=body,
        )
        assert answer.status == 200, (path, answer)
        return answer.text

    assert "BISHENG" in asked("/")
    assert "BISHENG" in asked("/health")  # the page, whatever the backend's health
    file = b"x" * (20 << 20)
    assert json.loads(asked("/api/v1/knowledge/upload", file)) == {"bytes": len(file)}
    # Bisheng's nginx takes the proxy in front for its client, and its own name for the port's.
    assert json.loads(asked("/api/v1/env")) == {"host": NAME, "x-real-ip": "127.0.0.1"}
