"""Measure and judge how long each hop keeps an idle connection open, on real connections."""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from deployer.errors import UnreachableError
from deployer.model import SourceRef
from deployer.sites.model import Check, Route, Site, Upstream
from deployer.verify.idle import Configured, IdleResult, idle_json, idle_plan, measure_idle
from deployer.verify.judge.idle import judge_idle, outcome_words
from deployer.verify.net.stream import Stream
from deployer.verify.options import ProxyAddress
from deployer.verify.probe.idle import IdleOutcome
from deployer.verify.public.dial import PublicDial
from tests.support.servers.scripted import Front, Peer, Server, dial, websocket_service
from tests.support.waiting import at_most, stretched

NAME = "stats.example.com"


def a_site(port: int, **route: Any) -> Site:
    checks = route.pop("verify", ())
    upstream = Upstream(host="127.0.0.1", port=port)
    made = Route(path="/ws", websocket=True, upstreams=(upstream,), origins=("any",), **route)
    return Site(domain=NAME, routes=(made,), verify=checks)


def waited(
    site: Site,
    proxy_port: int,
    *,
    limit_s: float = 2.0,
    outside: dict[tuple[str, int], str] | None = None,
    interrupt: threading.Event | None = None,
) -> IdleResult:
    public = PublicDial(outside) if outside is not None else None
    plan = idle_plan(
        site,
        configured={},
        limit_s=limit_s,
        public=public,
        proxy=ProxyAddress(http_port=proxy_port),
    )
    (result,) = measure_idle(
        plan,
        dial=dial,
        public=public,
        interrupt=interrupt or threading.Event(),
        progress=lambda words: None,
    )
    return result


def outcomes(result: IdleResult) -> dict[str, str]:
    return {each.hop: each.outcome for each in result.hops}


@contextlib.contextmanager
def behind_front(port: int, **settings: Any) -> Iterator[int]:
    with Server(Front(backend_port=port, origins=(), checks_origin=False, **settings)) as front:
        yield front.port


def test_the_closing_hop_is_found_and_ends_the_wait() -> None:
    service = websocket_service(ping_interval=None)
    with service as port, behind_front(port, cuts_after_s=0.4) as front:
        result = waited(a_site(port), front, limit_s=30)
    assert outcomes(result) == {"backend": "open", "proxy": "cut"}
    assert result.shortest is not None
    assert result.shortest.hop == "proxy"
    assert 0.35 < result.shortest.seconds < 0.4 + at_most(0.8)
    straight = result.of("backend")
    assert straight is not None
    assert 1.0 < straight.seconds < at_most(4), "so long that it cannot be what cuts, and no longer"


def test_a_service_that_pings_keeps_every_hop_open_and_its_interval_is_measured() -> None:
    with websocket_service(ping_interval=0.3) as port, behind_front(port) as front:
        result = waited(a_site(port), front, limit_s=30)
    assert outcomes(result) == {"backend": "kept-awake", "proxy": "kept-awake"}
    assert result.measured_interval_s == pytest.approx(0.3, abs=at_most(0.1))
    assert result.shortest is None


def test_a_service_that_closes_idle_connections_is_distinguished_from_the_proxy() -> None:
    def polite(peer: Peer) -> None:
        peer.upgrade()
        peer.connection.settimeout(0.4)
        with contextlib.suppress(TimeoutError):
            peer.connection.recv(100)
        peer.send(b"\x88\x02\x03\xe9")

    with Server(polite) as service, behind_front(service.port) as front:
        result = waited(a_site(service.port), front)
    assert outcomes(result) == {"backend": "cut", "proxy": "cut"}
    assert result.shortest is not None
    assert (result.shortest.hop, result.shortest.close_code) == ("backend", 1001)


def test_the_limit_ends_the_measurement() -> None:
    with websocket_service(ping_interval=None) as port, behind_front(port) as front:
        result = waited(a_site(port), front, limit_s=0.5)
    assert outcomes(result) == {"backend": "open", "proxy": "open"}
    assert result.shortest is None


def test_the_limit_applies_to_a_service_that_rarely_sends_anything() -> None:
    interval_s = stretched(1.2)
    with websocket_service(ping_interval=interval_s) as port, behind_front(port) as front:
        result = waited(a_site(port), front, limit_s=1.7 * interval_s)
    assert outcomes(result) == {"backend": "open", "proxy": "open"}
    proxy = result.of("proxy")
    assert proxy is not None
    assert (proxy.signs, proxy.seconds < interval_s) == (1, True)
    words = "idle; the service sent something once before"
    assert outcome_words(proxy) == f"still open after {proxy.seconds:.0f} s {words}"


def test_a_login_of_an_entry_is_sent_first() -> None:
    said: list[bytes] = []

    def wants_login(peer: Peer) -> None:
        peer.upgrade()
        said.append(peer.connection.recv(100))
        peer.until_it_leaves()

    entry = Check(path="/ws?token=1", send="hello")
    with Server(wants_login) as service, behind_front(service.port) as front:
        result = waited(a_site(service.port, verify=(entry,)), front, limit_s=0.5)
    assert outcomes(result) == {"backend": "open", "proxy": "open"}
    assert [len(each) for each in said] == [11, 11]


def test_the_public_hop_is_measured_or_skipped_with_a_reason() -> None:
    service = websocket_service(ping_interval=None)
    with service as port, behind_front(port, cuts_after_s=0.3) as front:
        site = a_site(port)
        there = waited(site, front, outside={(NAME, front): "127.0.0.1"})
        nowhere = waited(site, front, outside={(NAME, 9): "127.0.0.1"})
        refused = waited(site, front, outside={(NAME, front): "127.0.0.127"})
    assert outcomes(there) == {"backend": "open", "proxy": "cut", "public": "cut"}
    (finding,) = {check.finding for check in judge_idle(there) if check.finding is not None}
    assert (finding.code, finding.hop) == ("idle-cut", "proxy"), "the inner one has cut both"
    assert outcomes(nowhere)["public"] == "skipped"
    assert "does not resolve" in outcome_words(nowhere.hops[-1])
    assert outcomes(refused)["public"] == "failed"
    outside = {check.hop: check for check in judge_idle(refused)}["public"]
    assert outside.ok, "whether it can be reached is another check's matter"


def test_an_interrupt_ends_the_wait() -> None:
    stop = threading.Event()
    with websocket_service(ping_interval=None) as port, behind_front(port) as front:
        threading.Timer(0.3, stop.set).start()
        result = waited(a_site(port), front, limit_s=60, interrupt=stop)
    assert set(outcomes(result).values()) == {"interrupted"}
    assert not any(check.ok for check in judge_idle(result))


def test_a_lost_host_raises_an_error() -> None:
    def gone(**_: object) -> None:
        raise UnreachableError("the connection broke", host="web1")

    plan = idle_plan(a_site(1), configured={}, limit_s=1, public=None)
    with pytest.raises(UnreachableError):
        measure_idle(
            plan,
            dial=gone,  # type: ignore[arg-type]
            public=None,
            interrupt=threading.Event(),
            progress=lambda words: None,
        )


# --- what is made of it ---------------------------------------------------------------------------

PROMISED = {"idle_timeout": SourceRef("site.yml", 1, 1)}


def a_result(*hops: IdleOutcome, **given: Any) -> IdleResult:
    values: dict[str, Any] = {
        "site": NAME,
        "path": "/ws",
        "proxy": "nginx",
        "idle_timeout_s": 3600.0,
        "ping_interval_s": None,
        "is_promised": False,
        "limit_s": 330.0,
    }
    return IdleResult(hops=hops, **{**values, **given})


def cut(hop: Any, seconds: float, **given: Any) -> IdleOutcome:
    words = "closed the connection without a Close frame"
    return IdleOutcome(hop=hop, outcome="cut", seconds=seconds, words=words, **given)


def still(hop: Any, seconds: float = 300.0, **given: Any) -> IdleOutcome:
    return IdleOutcome(hop=hop, outcome="open", seconds=seconds, **given)


def awake(hop: Any, interval_s: float) -> IdleOutcome:
    return IdleOutcome(hop=hop, outcome="kept-awake", interval_s=interval_s, signs=3)


DEFAULT = Configured(hop="proxy", seconds=60.0, directive="proxy_read_timeout 60s (default)")
LONG = Configured(hop="proxy", seconds=3600.0, directive="proxy_read_timeout 1h", file="/a.conf:7")

CASES: dict[str, tuple[IdleResult, set[tuple[str, str, str]]]] = {
    "the proxy's default": (
        a_result(still("backend"), cut("proxy", 60.1), configured=(DEFAULT,)),
        {("idle-cut", "proxy", "error")},
    ),
    "its configuration cannot be read": (
        a_result(still("backend"), cut("proxy", 60.1)),
        {("idle-cut", "proxy", "error")},
    ),
    "as long as configured and promised": (
        a_result(still("backend"), cut("proxy", 75.2), idle_timeout_s=75.0),
        set(),
    ),
    "before the ping comes": (
        a_result(
            still("backend", 21.0), cut("proxy", 20.1), idle_timeout_s=20.0, ping_interval_s=30.0
        ),
        {("idle-cut", "proxy", "error")},
    ),
    "the configuration allows more": (
        a_result(still("backend"), cut("proxy", 60.1), configured=(LONG,)),
        {("idle-cut-elsewhere", "proxy", "error")},
    ),
    "a CDN": (
        a_result(still("backend"), still("proxy"), cut("public", 100.2)),
        {("idle-cut-elsewhere", "public", "warning")},
    ),
    "a CDN, and an hour is promised": (
        a_result(still("backend"), still("proxy"), cut("public", 100.2), is_promised=True),
        {("idle-cut-elsewhere", "public", "error")},
    ),
    "the proxy, seen from everywhere": (
        a_result(still("backend"), cut("proxy", 60.1), cut("public", 60.2)),
        {("idle-cut", "proxy", "error")},
    ),
    "the service closes idle connections": (
        a_result(cut("backend", 30.0, close_code=1001), cut("proxy", 30.1)),
        {("idle-cut", "backend", "note")},
    ),
    "the service closes idle connections, against the promise": (
        a_result(cut("backend", 30.0), cut("proxy", 30.1), is_promised=True),
        {("idle-cut", "backend", "error")},
    ),
    "pings as the site says": (
        a_result(awake("backend", 20.1), awake("proxy", 20.1), ping_interval_s=20.0),
        set(),
    ),
    "no ping, although the site has ping_interval": (
        a_result(still("backend"), still("proxy"), ping_interval_s=20.0),
        {("no-ping", "backend", "warning")},
    ),
    "pings too rarely": (
        a_result(awake("backend", 55.0), awake("proxy", 55.0), ping_interval_s=20.0),
        {("no-ping", "backend", "warning")},
    ),
    "the wait is too short for the ping": (
        a_result(still("backend", 10.0), still("proxy", 10.0), ping_interval_s=20.0),
        set(),
    ),
    "nothing is wrong": (a_result(still("backend"), still("proxy")), set()),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_found(name: str) -> None:
    result, expected = CASES[name]
    checks = judge_idle(result)
    found = {
        (check.finding.code, check.finding.hop, check.finding.severity)
        for check in checks
        if check.finding is not None
    }
    assert found == expected
    for check in checks:
        fails = check.finding is not None and check.finding.severity == "error"
        assert check.ok is not fails
    assert idle_json(result)["hops"][0]["hop"] == "backend"


def test_the_configured_directive_and_its_location_are_reported() -> None:
    file = "/etc/nginx/conf.d/a.conf:7"
    configured = Configured(
        hop="proxy", seconds=30.0, directive="proxy_read_timeout 30s", file=file
    )
    result = a_result(still("backend"), cut("proxy", 30.1), configured=(configured,))
    finding = judge_idle(result)[1].finding
    assert finding is not None
    assert (finding.file, finding.directive) == (file, "proxy_read_timeout 3600s;")
    assert "proxy_read_timeout 30s" in finding.cause


class _Breaking:
    """A connection on which sending the first message fails."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._sent = 0
        self.recv = stream.recv
        self.settimeout = stream.settimeout
        self.close = stream.close

    def sendall(self, data: bytes) -> None:
        self._sent += 1
        if self._sent > 1:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        self._stream.sendall(data)


def test_an_end_before_the_first_message_is_reported_without_a_crash() -> None:
    check = Check(path="/ws", send="a login", source=SourceRef(file="site.yml", line=1, column=1))
    with websocket_service(ping_interval=None) as port, behind_front(port) as front:
        plan = idle_plan(
            a_site(port, verify=(check,)),
            configured={},
            limit_s=0.5,
            public=None,
            proxy=ProxyAddress(http_port=front),
        )
        (result,) = measure_idle(
            plan,
            dial=lambda **where: _Breaking(dial(**where)),
            public=None,
            interrupt=threading.Event(),
            progress=lambda words: None,
        )
    assert outcomes(result) == {"backend": "failed", "proxy": "failed"}
    assert {each.words for each in result.hops} == {"reset the connection during a message"}
