"""Whole sites, verified through a proxy and directly: each fault has its finding, and no other."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from deployer.errors import UnreachableError
from deployer.model import CheckResult, HandshakeResult
from deployer.sites.model import Check, Route, Site, Tls, Upstream
from deployer.verify import required_s, result_json
from deployer.verify.judge.attempts import Attempts
from deployer.verify.judge.causes import service_diagnosis
from deployer.verify.probe.attempt import Attempt, Failure
from deployer.verify.probe.spec import Endpoint
from deployer.verify.run import may_be_starting
from tests.support.servers.scripted import (
    Front,
    Peer,
    Server,
    closed_port,
    dial,
    websocket_service,
)
from tests.support.verified_sites import (
    NAME,
    OFFERING,
    OWN,
    PLAIN,
    a_site,
    cloaks_other_hosts,
    findings,
    named,
    verified,
    wants_its_own_origin,
)
from tests.support.waiting import at_most, stretched


def test_the_wait_for_a_missing_first_message_does_not_count_as_the_services_time(
    tls_context: Any, port_80: int
) -> None:
    with (
        websocket_service(greets=False) as service,
        Server(Front(backend_port=service, origins=(OWN,)), tls=tls_context) as front,
    ):
        site = a_site(port=service)
        listen_s = stretched(2.0)
        results = verified(site, https_port=front.port, http_port=port_80, listen_s=listen_s)
    shaken = [result for result in results if result.name == "handshake"]
    assert [result.ok for result in shaken] == [True, True]
    assert all(0 < result.seconds < listen_s for result in shaken)


# --- services that are wrong, each by itself ------------------------------------------------------


@pytest.mark.parametrize(
    "check",
    [
        None,
        OFFERING,
        Check(path="/ws", send="ping", expect="pong", hold_s=0.05),
        Check(path="/ws", expect='"type" *: *"welcome"', expect_is_regex=True),
    ],
    ids=["no entry", "subprotocol", "send, expect and hold", "pattern"],
)
def test_a_healthy_site_passes_everything(
    check: Check | None, tls_context: Any, port_80: int, healthy_service: int
) -> None:
    reported: list[CheckResult] = []
    with Server(Front(backend_port=healthy_service, origins=(OWN,)), tls=tls_context) as front:
        site = a_site(port=healthy_service, verify=[check] if check else [])
        results = verified(
            site,
            https_port=front.port,
            http_port=port_80,
            on_result=reported.append,
            listen_s=5.0,  # no longer than until the first message
        )
    assert [(result.name, result.detail) for result in results if not result.ok] == []
    assert findings(results) == []
    assert tuple(reported) == results
    names = [(result.name, result.hop) for result in results]
    assert names[:11] == [
        ("certificate", "proxy"),
        ("redirect to https", "proxy"),
        ("old TLS refused", "proxy"),
        ("no version disclosed", "proxy"),
        ("handshake", "proxy"),
        ("handshake", "backend"),
        ("foreign origin refused", "proxy"),
        ("no origin needed", "proxy"),
        ("plain GET not upgraded", "proxy"),
        ("WebSocket over HTTP/2", "proxy"),
        ("h2c refused", "proxy"),
    ]
    handshake = named(results, "handshake").handshake
    assert handshake is not None
    assert handshake.status_code == 101
    assert set(handshake.timings_s) == {"connect", "tls", "upgrade", "first_message", "ping"}
    assert re.match(r"101, (subprotocol chat.v2, )?ping ", named(results, "handshake").detail)


def test_causes_that_look_alike_are_listed_as_alternatives(healthy_service: int) -> None:
    with Server(cloaks_other_hosts) as service:
        lossy = Front(backend_port=service.port, origins=(PLAIN,), drops_upgrade=True)
        with Server(lossy) as front:
            site = a_site(port=service.port, issuer="none")
            results = verified(site, https_port=1, http_port=front.port)
        renaming = Front(
            backend_port=service.port, origins=(PLAIN,), host=f"127.0.0.1:{service.port}"
        )
        with Server(renaming) as front:
            others = verified(site, https_port=1, http_port=front.port)
    (lost,) = findings(results)
    assert lost.code == "upgrade-not-forwarded"
    assert [other.code for other in lost.alternatives] == ["host-rewritten"]
    (renamed,) = findings(others)  # without Origin it opens: Upgrade does get through
    assert (renamed.code, renamed.alternatives) == ("host-rewritten", ())


def test_a_port_that_the_proxy_loses() -> None:
    with Server(wants_its_own_origin) as service:
        losing = Front(backend_port=service.port, origins=(), checks_origin=False, host=NAME)
        with Server(losing) as front:
            site = a_site(port=service.port, issuer="none", origins=("any",))
            lost, kept = (
                verified(site, https_port=1, http_port=front.port, port_in_names=named_so)
                for named_so in (True, False)
            )
    assert [finding.code for finding in findings(lost)] == ["port-lost"]
    assert f"Host: {NAME}:{front.port}" in findings(lost)[0].cause
    assert findings(kept) == []


def test_a_finding_contains_the_request_and_the_response(healthy_service: int) -> None:
    broken = Front(backend_port=healthy_service, origins=(PLAIN,), answers="404 Not Found")
    check = Check(path="/ws?token=opensesame")
    with Server(broken) as front:
        site = a_site(port=healthy_service, issuer="none", verify=[check])
        results = verified(site, https_port=1, http_port=front.port)
    finding = findings(results)[0]
    assert finding.request.startswith(f"GET /ws?token=… HTTP/1.1\nHost: {NAME}\n")
    assert "Sec-WebSocket-Key: …" in finding.request
    assert finding.response.startswith("HTTP/1.1 404 Not Found\nServer: front\n")
    assert "opensesame" not in str(results)


# --- what cannot be had from a table --------------------------------------------------------------


def test_a_service_that_is_down_is_reported_once_in_plain_words(
    tls_context: Any, port_80: int
) -> None:
    port = closed_port()
    with Server(Front(backend_port=port, origins=(OWN,)), tls=tls_context) as front:
        site = a_site(port=port, verify=[Check(path="/ws")])
        results = verified(site, https_port=front.port, http_port=port_80)
    (finding,) = findings(results)
    assert (finding.code, finding.hop) == ("service-down", "backend")
    assert finding.symptom == (
        f"wss://{NAME}/ws answered 502 Bad Gateway; the service on 127.0.0.1:{port} refuses "
        "connections: nothing listens there"
    )
    assert not named(results, "handshake", hop="backend").ok
    assert named(results, "foreign origin refused").ok


def test_a_proxy_that_is_down_is_reported_once(port_80: int, healthy_service: int) -> None:
    port = closed_port()
    site = a_site(port=healthy_service)
    results = verified(site, https_port=port, http_port=port_80)
    (finding,) = findings(results)
    assert (finding.code, finding.hop) == ("proxy-down", "proxy")
    assert f"the proxy on 127.0.0.1:{port} refuses connections" in finding.symptom
    assert named(results, "handshake", hop="backend").ok


def test_an_old_service_that_still_answers_does_not_hide_one_that_is_down(
    tls_context: Any, port_80: int, healthy_service: int
) -> None:
    with Server(Front(backend_port=healthy_service, origins=(OWN,)), tls=tls_context) as front:
        site = a_site(port=closed_port())
        results = verified(site, https_port=front.port, http_port=port_80)
    assert named(results, "handshake").ok
    (finding,) = findings(results)
    assert (finding.code, finding.hop) == ("service-down", "backend")


def test_plain_http_on_a_tls_port(port_80: int, healthy_service: int) -> None:
    def puzzled(peer: Peer) -> None:
        peer.connection.recv(4096)
        peer.answer("400 Bad Request")

    with Server(puzzled, reads_head=False) as front:
        results = verified(a_site(port=healthy_service), https_port=front.port, http_port=port_80)
    assert {finding.code for finding in findings(results)} == {"tls-not-spoken"}


def test_a_service_that_requires_an_origin_passes(tls_context: Any, port_80: int) -> None:
    with (
        websocket_service(origins=[OWN]) as port,
        Server(Front(backend_port=port, origins=(OWN,)), tls=tls_context) as front,
    ):
        results = verified(a_site(port=port), https_port=front.port, http_port=port_80)
    assert findings(results) == []
    assert "requires an Origin" in named(results, "no origin needed").detail


def test_require_origin_and_listed_origins(
    tls_context: Any, port_80: int, healthy_service: int
) -> None:
    shop = "https://shop.example.com"
    site = a_site(port=healthy_service, origins=(OWN, shop), require_origin=True)
    strict = Front(backend_port=healthy_service, origins=(OWN, shop), refuses_missing_origin=True)
    with Server(strict, tls=tls_context) as front:
        results = verified(site, https_port=front.port, http_port=port_80)
    assert findings(results) == []
    assert named(results, "missing origin refused").detail == "answered 403"
    assert named(results, "listed origin").target == f"/ws from {shop}"

    lax = Front(backend_port=healthy_service, origins=(OWN,))
    with Server(lax, tls=tls_context) as front:
        results = verified(site, https_port=front.port, http_port=port_80)
    assert [(finding.code, finding.hop) for finding in findings(results)] == [
        ("origin-blocked", "proxy"),
        ("origin-open", "proxy"),
    ]


def test_the_redirect_must_keep_name_path_and_query(tls_context: Any, healthy_service: int) -> None:
    def loses_the_path(peer: Peer) -> None:
        peer.answer("308 Permanent Redirect", f"Location: https://{peer.header('Host')}/")

    with (
        Server(Front(backend_port=healthy_service, origins=(OWN,)), tls=tls_context) as front,
        Server(loses_the_path) as port_80,
    ):
        results = verified(
            a_site(port=healthy_service), https_port=front.port, http_port=port_80.port
        )
    (finding,) = findings(results)
    assert finding.code == "redirect-missing"
    assert f"Location: https://{NAME}/" in finding.evidence


@pytest.mark.parametrize(
    ("service", "front", "codes"),
    [
        ("200 OK", {}, []),
        ("404 Not Found", {}, []),
        ("500 Internal Server Error", {}, [("service-failing", "backend")]),
        ("200 OK", {"prefix": "/nowhere"}, [("wrong-route", "proxy")]),
    ],
    ids=["answers", "has no front page", "fails", "is asked for another path"],
)
def test_plain_routes_answer(
    service: str,
    front: dict[str, Any],
    codes: list[tuple[str, str]],
    tls_context: Any,
    port_80: int,
) -> None:
    def page(peer: Peer) -> None:
        known = not peer.target.startswith("/nowhere")
        peer.answer(service if known else "404 Not Found", body="hello")

    with (
        Server(page) as app,
        Server(Front(backend_port=app.port, origins=(), **front), tls=tls_context) as proxy,
    ):
        route = Route(path="/", upstreams=(Upstream(host="127.0.0.1", port=app.port),))
        site = Site(domain=NAME, tls=Tls(issuer="internal"), routes=(route,))
        results = verified(site, https_port=proxy.port, http_port=port_80)
    assert [(finding.code, finding.hop) for finding in findings(results)] == codes
    assert named(results, "page").ok is (not codes)


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found"])
def test_a_folder_without_an_index_file_is_reported(
    status: str, tls_context: Any, port_80: int
) -> None:
    with Server(lambda peer: peer.answer(status, body="no"), tls=tls_context) as proxy:
        site = Site(
            domain=NAME,
            tls=Tls(issuer="internal"),
            routes=(Route(path="/", root="/srv"),),
        )
        results = verified(site, https_port=proxy.port, http_port=port_80)
    assert named(results, "page").ok
    assert "no index file" in named(results, "page").detail


def test_the_fix_for_a_missing_unix_socket_lists_unix_sockets() -> None:
    failure = Failure("refused", "refuses connections")
    for endpoint, command in (
        (Endpoint(socket="/run/app.sock"), "ss -lxp"),
        (Endpoint(host="127.0.0.1", port=1), "ss -ltnp"),
    ):
        assert command in service_diagnosis(failure, status_code=None, endpoint=endpoint).fix


def test_a_unix_socket_and_a_stripped_prefix(
    tmp_path: Path, tls_context: Any, port_80: int
) -> None:
    asked: list[str] = []

    def remembers(peer: Peer) -> None:
        asked.append(f"{peer.target} {peer.header('X-Forwarded-Proto')} {peer.header('Host')}")
        peer.upgrade()
        peer.send(b"\x88\x02\x0f\xa1")  # Close, code 4001: a word of its own
        peer.until_it_leaves()

    with (
        Server(remembers, socket_path=str(tmp_path / "app")) as unix,
        Server(remembers) as front,
    ):
        route = Route(
            path="/ws",
            websocket=True,
            upstreams=(Upstream(socket=unix.socket_path),),
            strip_prefix=True,
            origins=("any",),
        )
        site = Site(domain=NAME, routes=(route,))
        results = verified(site, https_port=1, http_port=front.port)
    backend = named(results, "handshake", hop="backend")
    assert backend.ok
    assert "with code 4001" in backend.detail
    # The handshake, and the plain GET: it was upgraded too, so the service is asked the same.
    assert asked.count(f"/ http {NAME}") == 2
    assert f"/ws None {NAME}" in asked


@pytest.mark.parametrize("speaks_tls", [True, False], ids=["as configured", "plain HTTP"])
def test_a_service_with_tls(speaks_tls: bool, tls_context: Any) -> None:
    def service(peer: Peer) -> None:
        if not speaks_tls:
            peer.connection.recv(4096)
            peer.answer("400 Bad Request")
            return
        peer.read_head()
        peer.upgrade()
        peer.send(b"\x88\x02\x03\xe8")
        peer.until_it_leaves()

    context = tls_context if speaks_tls else None
    with Server(service, tls=context, reads_head=False) as app:
        upstream = Upstream(host="127.0.0.1", port=app.port, tls=True)
        route = Route(path="/ws", websocket=True, upstreams=(upstream,))
        results = verified(Site(domain=NAME, routes=(route,)), https_port=1, http_port=app.port)
    backend = named(results, "handshake", hop="backend")
    assert backend.ok is speaks_tls
    if not speaks_tls:
        found = [(finding.code, finding.hop) for finding in findings(results)]
        assert ("upstream-scheme", "backend") in found


def test_everything_ends_within_the_overall_limit() -> None:
    def never(peer: Peer) -> None:
        peer.until_it_leaves()

    with Server(never) as silent:
        site = a_site(port=silent.port, issuer="none", verify=[Check(path="/ws", hold_s=0.01)])
        began = time.monotonic()
        results = verified(site, https_port=1, http_port=silent.port, timeout_s=0.1)
        took = time.monotonic() - began
    assert took < required_s([site], timeout_s=0.1, patience_s=0) + at_most(1)
    assert ("service-hangs", "backend") in [(found.code, found.hop) for found in findings(results)]


def test_waits_for_a_service_that_is_still_starting(tls_context: Any, port_80: int) -> None:
    port = closed_port()
    ready = threading.Event()

    def patiently(**address: Any) -> Any:
        if address.get("port") == port:
            if not ready.is_set():
                ready.set()
                raise ConnectionRefusedError
            address["port"] = service
        return dial(**address)

    with (
        websocket_service() as service,
        Server(Front(backend_port=service, origins=(OWN,)), tls=tls_context) as front,
    ):
        results = verified(
            a_site(port=port),
            https_port=front.port,
            http_port=port_80,
            dial=patiently,
            patience_s=5.0,
            changed_at=time.monotonic() - 0.5,
        )
    assert findings(results) == []


def test_old_workers_do_not_make_a_broken_change_pass(healthy_service: int) -> None:
    reloaded_at = time.monotonic()
    right = Front(backend_port=healthy_service, origins=(PLAIN,))
    broken = Front(backend_port=healthy_service, origins=(PLAIN,), answers="404 Not Found")

    def reloads(peer: Peer) -> None:
        front = right if time.monotonic() < reloaded_at + 0.03 else broken
        front(peer)

    with Server(reloads) as front:
        site = a_site(port=healthy_service, issuer="none")
        results = verified(site, https_port=1, http_port=front.port, patience_s=0.06)
    assert [finding.code for finding in findings(results)] == ["wrong-route"]


def test_what_may_still_be_starting_is_distinguished_from_a_fault() -> None:
    def attempt(status: int | None, code: str = "status") -> Attempt:
        answer = HandshakeResult(uri="ws://a/ws", hop="proxy", status_code=status)
        return Attempt(answer=answer, failure=Failure(code, code))

    healthy = Attempt(answer=HandshakeResult(uri="ws://a/ws", hop="backend", status_code=101))
    assert may_be_starting(Attempts(main=attempt(None, "refused")))
    assert may_be_starting(Attempts(main=attempt(502), peer=attempt(None, "refused")))
    assert may_be_starting(Attempts(main=attempt(502)))
    assert not may_be_starting(Attempts(main=attempt(502), peer=healthy))
    assert not may_be_starting(Attempts(main=attempt(404), peer=attempt(404)))


def test_a_lost_host_is_an_error_and_no_finding(port_80: int) -> None:
    def lost(**_: Any) -> Any:
        raise UnreachableError("the connection is gone", host="web1")

    with pytest.raises(UnreachableError):
        verified(a_site(port=1), https_port=1, http_port=port_80, dial=lost)


def test_an_interrupt_ends_a_hold_at_once(
    tls_context: Any, port_80: int, healthy_service: int
) -> None:
    interrupt = threading.Event()

    def report(result: CheckResult) -> None:
        if result.name == "h2c refused":
            interrupt.set()

    site = a_site(port=healthy_service, verify=[Check(path="/ws", hold_s=60.0)])
    began = time.monotonic()
    with Server(Front(backend_port=healthy_service, origins=(OWN,)), tls=tls_context) as front:
        results = verified(
            site,
            https_port=front.port,
            http_port=port_80,
            on_result=report,
            interrupt=interrupt,
        )
    assert time.monotonic() - began < at_most(5)
    assert named(results, "verify").detail == "not finished: interrupted"
    assert not named(results, "verify").ok


def test_an_internal_error_is_a_failed_check(port_80: int) -> None:
    def broken(**_: Any) -> Any:
        raise LookupError("no such thing")

    results = verified(a_site(port=1), https_port=1, http_port=port_80, dial=broken)
    assert not any(result.ok for result in results if not result.skipped)
    assert "LookupError: no such thing" in results[0].detail


def test_required_time_counts_the_longest_hold() -> None:
    site = a_site(port=1, verify=[Check(path="/ws", hold_s=75), Check(path="/ws", hold_s=5)])
    held = required_s([site], timeout_s=10, patience_s=5)
    assert held == required_s([a_site(port=1)], timeout_s=10, patience_s=5) + 75
    assert required_s([site, site]) == 2 * required_s([site])


def test_json_omits_cookies(tls_context: Any, port_80: int) -> None:
    def with_cookie(peer: Peer) -> None:
        peer.answer("404 Not Found", "Set-Cookie: session=opensesame", body="\x1b[31mred")

    with Server(with_cookie) as service:
        site = Site(
            domain=NAME,
            routes=(
                Route(
                    path="/ws",
                    websocket=True,
                    upstreams=(Upstream(host="127.0.0.1", port=service.port),),
                ),
            ),
        )
        results = verified(site, https_port=1, http_port=service.port)
    written = str([result_json(result) for result in results])
    assert "opensesame" not in written
    assert "\\x1b" not in written
    assert "'status_code': 404" in written
