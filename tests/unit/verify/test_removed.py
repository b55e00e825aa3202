"""Names of removed sites, compared with unknown names at a scripted proxy."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from deployer.model import CheckResult
from deployer.sites.model import RemovedSite
from deployer.verify.options import Limits, ProxyAddress
from deployer.verify.removed import verify_removed
from tests.support.waiting import stretched

Answer = Callable[[str, str, bool], bytes | None]
SITE = RemovedSite(domain="b.example.com", names=("b.example.com",), has_tls=False, paths=("/ws",))
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
FOUND = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


def redirect(to: str) -> bytes:
    return f"HTTP/1.1 301 Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


@contextmanager
def proxy(answer: Answer) -> Iterator[ProxyAddress]:
    """A proxy whose answer depends on host, path, and whether the request is an upgrade."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    head = connection.recv(65536).decode()
                    path = head.split()[1]
                    host = head.partition("Host: ")[2].partition("\r\n")[0]
                    reply = answer(host, path, "Upgrade: websocket" in head)
                    if reply is not None:
                        connection.sendall(reply)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = server.getsockname()[1]
        yield ProxyAddress(http_port=port, https_port=port)
        server.shutdown(socket.SHUT_RDWR)


def dial(*, host: str, port: int, timeout_s: float) -> socket.socket:
    return socket.create_connection((host, port), timeout=timeout_s)


def checked(answer: Answer, *, patience_s: float = 0.0, site: RemovedSite = SITE) -> CheckResult:
    with proxy(answer) as address:
        (result,) = verify_removed(
            (site,), dial=dial, limits=Limits(patience_s=patience_s), proxy=address
        )
    return result


@pytest.mark.parametrize(
    "answer",
    [
        lambda host, path, is_upgrade: NOT_FOUND,
        lambda host, path, is_upgrade: FOUND,  # a welcome page, whatever the name
        lambda host, path, is_upgrade: redirect(f"https://{host}/"),
        lambda host, path, is_upgrade: None,  # closed without an answer
    ],
)
def test_a_name_that_is_answered_like_an_unknown_one_is_no_longer_served(answer: Answer) -> None:
    result = checked(answer)
    assert result.ok, result
    assert "as any unknown name" in result.detail


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            lambda host, path, is_upgrade: FOUND if host == "b.example.com" else NOT_FOUND,
            "answers 200; an unknown name answers 404",
        ),
        (
            lambda host, path, is_upgrade: (
                UPGRADED if is_upgrade and host == "b.example.com" else NOT_FOUND
            ),
            "/ws answers 101; an unknown name answers 404",
        ),
        (
            lambda host, path, is_upgrade: redirect(
                "https://new.example/" if host == "b.example.com" else "https://default.example/"
            ),
            "answers 301 to https://new.example/",
        ),
        (
            lambda host, path, is_upgrade: FOUND if host == "b.example.com" else None,
            "an unknown name gives no answer",
        ),
    ],
)
def test_a_name_with_an_answer_of_its_own_fails_with_a_finding(answer: Answer, words: str) -> None:
    result = checked(answer)
    assert not result.ok
    assert words in result.detail
    assert result.finding is not None
    assert result.finding.code == "name-still-served"


def test_a_wildcard_that_covers_the_name_is_not_the_site() -> None:
    def answer(host: str, path: str, is_upgrade: bool) -> bytes:
        return FOUND if host.endswith(".example.com") else NOT_FOUND

    assert checked(answer).ok


def test_old_workers_may_answer_for_a_moment() -> None:
    until = time.monotonic() + 0.4

    def answer(host: str, path: str, is_upgrade: bool) -> bytes:
        is_old = time.monotonic() < until
        return FOUND if is_old and host == "b.example.com" else NOT_FOUND

    assert checked(answer, patience_s=stretched(5.0)).ok


def test_nothing_that_listens_serves_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = ProxyAddress(http_port=port, https_port=port)
    tls = RemovedSite(domain="*.b.example.com", names=("*.b.example.com",), has_tls=True)
    (result,) = verify_removed((tls,), dial=dial, limits=Limits(patience_s=0.0), proxy=address)
    assert result.ok
    assert result.target == "wildcard.b.example.com"


def test_an_interrupt_ends_the_check() -> None:
    stop = threading.Event()
    stop.set()
    with proxy(lambda host, path, is_upgrade: NOT_FOUND) as address:
        limits = Limits(patience_s=60.0, interrupt=stop)
        (result,) = verify_removed((SITE,), dial=dial, limits=limits, proxy=address)
    assert (result.ok, result.detail) == (False, "not finished: interrupted")
