"""The program of the role that waits until a service answers, run as by systemd."""

from __future__ import annotations

import contextlib
import http.server
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from deployer.playbook.builtin import roles_path
from tests.support.waiting import PATIENCE_S

PROGRAM = roles_path() / "websocket_app/files/until-it-answers"


def waited(
    target: str, path: str = "", *options: str, pid: int = 0, within: float = 0.2
) -> tuple[int, str]:
    """The exit code and the output."""
    argv = [sys.executable, str(PROGRAM), "--pid", str(pid or os.getpid()), "--within", str(within)]
    argv += options
    done = subprocess.run(
        [*argv, target, *([path] if path else [])],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


@contextlib.contextmanager
def service(status: int = 200, *, names: Sequence[str] = ("localhost",)) -> Iterator[str]:
    """The port of an HTTP server that answers with `status`, and 403 if Host is none of `names`."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.headers["Host"] in names else 403)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield str(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_a_port_that_accepts_connections_is_sufficient() -> None:
    with service(500) as port:
        assert waited(port, within=60) == (0, "")


@pytest.mark.parametrize("status", [200, 204, 301, 308])
def test_a_path_that_succeeds(status: int) -> None:
    with service(status) as port:
        assert waited(port, "/health", within=60) == (0, "")


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_a_path_that_returns_an_error(status: int) -> None:
    with service(status) as port:
        code, words = waited(port, "/health", within=0.5)
    assert code == 1
    assert words.startswith(f"GET /health with Host: localhost returned {status} ")
    assert words.endswith("after 0.5 s")


def test_a_service_that_admits_only_some_names() -> None:
    with service(names=["app.example.com"]) as port:
        refused = waited(port, "/", within=0.5)
        assert refused == (1, "GET / with Host: localhost returned 403 Forbidden after 0.5 s")
        assert waited(port, "/", "--host", "app.example.com", within=60) == (0, "")


def test_nothing_answers() -> None:
    port = free_port()
    code, words = waited(port)
    assert code == 1
    assert words == f"nothing answers on port {port}: [Errno 111] Connection refused after 0.2 s"


def test_it_waits_for_a_late_service() -> None:
    port = free_port()
    argv = [sys.executable, str(PROGRAM), "--pid", str(os.getpid()), "--within", "600", port]
    with subprocess.Popen(argv) as waiting, socket.socket() as late:
        late.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.1)
        late.bind(("127.0.0.1", int(port)))
        late.listen()
        assert waiting.wait(PATIENCE_S) == 0


def test_it_does_not_wait_for_a_service_that_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    with service() as port:
        # A different process answers, not the service that was started.
        assert waited(port, pid=gone.pid, within=20) == (
            1,
            "the service ended before it answered",
        )


def test_a_socket_is_made_accessible_to_the_proxy(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        path.chmod(0o700)
        server.listen()
        assert waited(str(path), within=60) == (0, "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o666


def test_a_missing_socket(tmp_path: Path) -> None:
    code, words = waited(str(tmp_path / "app.sock"))
    assert (code, words.partition(": ")[0]) == (1, f"nothing answers on {tmp_path}/app.sock")
