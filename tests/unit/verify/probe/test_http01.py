"""Check whether a CA would find an HTTP-01 answer, with real servers on loopback."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deployer.verify.probe import http01
from deployer.verify.probe.http01 import Http01Challenge, http01_problem

WORD = "a-word-that-nobody-else-knows"
PATH = "/.well-known/acme-challenge/token"


@contextmanager
def server(answers: dict[str, tuple[int, dict[str, str], str]], address: str) -> Iterator[None]:
    """Answers on port 80 of a loopback address, by host and path."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            key = f"{self.headers['Host']}{self.path}"
            status, headers, body = answers.get(key, (404, {}, "not here"))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((address, 80), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
        yield
        httpd.shutdown()


def look(*names: str, address: str, public: bool = False) -> str:
    challenge = Http01Challenge(names=names, path=PATH, expect=WORD)
    return http01_problem(challenge, host_address=address, is_public=public, patience_s=0)


@pytest.fixture
def address() -> str:
    """A loopback address whose port 80 is free on this machine."""
    for number in range(20, 250):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((f"127.0.7.{number}", 80))
            except PermissionError:
                pytest.skip("port 80 needs root")
            except OSError:
                continue
            return f"127.0.7.{number}"
    raise AssertionError


def test_the_answer_is_found(address: str) -> None:
    with server({f"a.invalid{PATH}": (200, {}, WORD)}, address):
        assert look("a.invalid", address=address) == ""


def test_a_redirect_to_the_answer_is_followed(address: str) -> None:
    answers = {
        f"a.invalid{PATH}": (301, {"Location": f"http://a.invalid/x{PATH}"}, ""),
        f"a.invalid/x{PATH}": (302, {"Location": "/y"}, ""),
        "a.invalid/y": (200, {}, f"{WORD}\n"),
    }
    with server(answers, address):
        assert look("a.invalid", address=address) == ""


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((404, {"Server": "nginx/1.22.1"}, "no"), "a different server answers there (status 404"),
        ((200, {}, "something else"), "a different server answers there (status 200"),
        ((301, {"Location": "ftp://a.invalid/"}, ""), "redirects to ftp://a.invalid/"),
        ((301, {"Location": f"http://a.invalid{PATH}"}, ""), "redirects endlessly"),
    ],
)
def test_a_wrong_answer_is_described(
    address: str, answer: tuple[int, dict[str, str], str], words: str
) -> None:
    with server({f"a.invalid{PATH}": answer}, address):
        found = look("a.invalid", address=address)
    assert found.startswith(f"a.invalid at {address}, but ")
    assert words in found


def test_nothing_listens(address: str) -> None:
    found = look("a.invalid", address=address)
    assert "nothing listens on its port 80, or a firewall rejects connections" in found
    assert "open port 80 to the world" in found


def test_a_name_that_does_not_resolve_is_an_error_for_a_public_ca(address: str) -> None:
    with server({f"a.invalid{PATH}": (200, {}, WORD)}, address):
        found = look("a.invalid", address=address, public=True)
    assert found.startswith("a.invalid does not resolve: point its A or AAAA record")


def test_every_address_of_a_name_is_checked(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CA may use any of them."""
    other = address.replace("127.0.7.", "127.0.8.")
    monkeypatch.setattr(http01, "_addresses", lambda name: [address, other])
    with server({f"a.invalid{PATH}": (200, {}, WORD)}, address):
        found = look("a.invalid", address="127.0.0.1", public=True)
        assert found.startswith(f"a.invalid resolves to {other}, but nothing listens")
        with server({f"a.invalid{PATH}": (200, {}, WORD)}, other):
            assert look("a.invalid", address="127.0.0.1", public=True) == ""


def test_a_silent_server_times_out(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http01, "_TIMEOUT_S", 0.2)
    with socket.create_server((address, 80)):
        assert "does not answer within 0.2 s" in look("a.invalid", address=address)


def test_a_server_that_does_not_speak_http(address: str) -> None:
    with socket.create_server((address, 80)) as listener:

        def garbage() -> None:
            line, _ = listener.accept()
            with line:
                line.sendall(b"220 mail.example.com ESMTP\r\n")

        thread = threading.Thread(target=garbage)
        thread.start()
        assert "does not answer like a web server" in look("a.invalid", address=address)
        thread.join()
