"""Find the limit of a load from the proxy's log and configuration, or report that it is unknown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deployer.load.figures import (
    FailureGroup,
    Figures,
    LossGroup,
    failure_groups,
    loss_groups,
    percentiles,
)
from deployer.load.judge import Observed, judge_load
from deployer.load.reloads import Change, detect_change
from deployer.load.result import LoadResult, load_json
from deployer.model import Proxy
from deployer.proxies.inspect import ConfigFile, Process, ProxyState
from deployer.proxies.limits import limits
from deployer.report.measurements import load_rows


def a_process(pid: int, ppid: int, title: str = "", **given: Any) -> Process:
    values: dict[str, Any] = {
        "age_s": 100.0,
        "threads": 1,
        "open_files": 20,
        "files_limit": 1024,
        "rss_bytes": 1 << 20,
        "is_leaving": False,
    }
    return Process(pid=pid, ppid=ppid, title=title, **{**values, **given})


def a_state(proxy: Proxy, text: str, *processes: Process, **given: Any) -> ProxyState:
    config = (ConfigFile(path="/etc/main.conf", text=text),)
    return ProxyState(
        proxy=proxy,
        is_running=True,
        config=config,
        processes=processes,
        listeners=("0.0.0.0:80",),
        **given,
    )


MASTER = a_process(10, 1, "nginx: master process")
NGINX = a_state(
    "nginx",
    "user www-data;\nevents {\n    # worker_connections 9;\n    worker_connections 768;\n}\n",
    MASTER,
    a_process(11, 10, "nginx: worker process"),
    a_process(12, 10, "nginx: worker process"),
    a_process(9, 10, "nginx: worker process is shutting down", is_leaving=True),
    a_process(13, 10, "nginx: cache manager process"),
)
APACHE = a_state(
    "apache",
    "<IfModule mpm_event_module>\nServerLimit 3\nThreadsPerChild 5\nMaxRequestWorkers 10\n"
    "</IfModule>",
    a_process(20, 1),
    a_process(21, 20),
    a_process(22, 20, is_leaving=True),
)
HAPROXY = a_state(
    "haproxy",
    "global\n    maxconn 4000\ndefaults\n    mode http\nfrontend https\n    maxconn 100 # few\n"
    "backend app\n    server one 127.0.0.1:3000 maxconn 20\n",
    a_process(30, 1, files_limit=20_000),
    a_process(31, 30, files_limit=20_000),
)


def shown(state: ProxyState) -> list[tuple[str, str, int, str]]:
    return [(each.code, each.name, each.websockets, each.file) for each in limits(state)]


def test_limits_of_nginx() -> None:
    assert shown(NGINX) == [
        ("connections-exhausted", "worker_connections 768", 2 * 383, "/etc/main.conf:4"),
        ("files-exhausted", "1,024 open files", 2 * 506, ""),
    ]


def test_limits_of_apache() -> None:
    assert shown(APACHE) == [
        ("threads-exhausted", "MaxRequestWorkers 10", 10, "/etc/main.conf:4"),
        ("scoreboard-full", "ServerLimit 3", 10, "/etc/main.conf:2"),
    ]


def test_limits_of_haproxy() -> None:
    assert shown(HAPROXY) == [
        (
            "connections-exhausted",
            "maxconn 20 of server one in backend app",
            20,
            "/etc/main.conf:8",
        ),
        ("connections-exhausted", "maxconn 100 of frontend https", 100, "/etc/main.conf:6"),
        ("connections-exhausted", "maxconn 4000 of global", 4000, "/etc/main.conf:2"),
        ("files-exhausted", "20,000 open files", 9994, ""),
    ]


def test_defaults_without_a_setting() -> None:
    assert [each.websockets for each in limits(a_state("nginx", "", MASTER))] == [255]
    assert [each.websockets for each in limits(a_state("apache", ""))] == [400, 400]


def a_result(state: ProxyState, most_open: int, *failed: FailureGroup, **given: Any) -> LoadResult:
    ended = given.pop("ended", ())
    figures = Figures(
        asked=1000,
        tried=1000,
        opened=most_open,
        most_open=most_open,
        answered=most_open - sum(group.count for group in ended),
        failed=failed,
        ended=ended,
        **given.pop("figures", {}),
    )
    return LoadResult(
        site="a.example",
        proxy=state.proxy,
        uris=("wss://a.example/ws",),
        address="192.0.2.1:443",
        rate_per_s=200.0,
        hold_s=10.0,
        figures=figures,
        limits=limits(state),
        **given,
    )


def some(phase: str = "tls", words: str = "reset it", at_open: int = 1) -> FailureGroup:
    return FailureGroup(phase=phase, words=words, count=100, at_open=at_open, first_s=2.0)


FULL = "2026/11/21 [alert] 1#1: *9 768 worker_connections are not enough while connecting"
FILES = "2026/11/21 [crit] 1#1: accept4() failed (24: Too many open files)"
ZONE = '2026/11/21 [error] 1#1: *3 limiting connections by zone "per_ip", client: 192.0.2.9'
THREADS = "[mpm_event:error] AH00484: server reached MaxRequestWorkers setting, consider raising"
BOARD = "[mpm_event:error] AH03490: scoreboard is full, not at MaxRequestWorkers.Increase"
WORKS = Observed(service="works")

CASES: dict[str, tuple[LoadResult, Observed, str, str]] = {
    "nginx logs it": (
        a_result(NGINX, 500, some()),
        Observed(new_log=(FULL,)),
        "connections-exhausted",
        "proxy",
    ),
    "nginx has no files": (
        a_result(NGINX, 700, some()),
        Observed(new_log=(FILES,)),
        "files-exhausted",
        "proxy",
    ),
    "a limit of one address": (
        a_result(NGINX, 10, some()),
        Observed(new_log=(ZONE,)),
        "connections-exhausted",
        "proxy",
    ),
    "exactly nginx's number": (
        a_result(NGINX, 764, some()),
        WORKS,
        "connections-exhausted",
        "proxy",
    ),
    "Apache says it": (
        a_result(APACHE, 9, some()),
        Observed(new_log=(THREADS,)),
        "threads-exhausted",
        "proxy",
    ),
    "Apache's places": (
        a_result(APACHE, 9, some()),
        Observed(new_log=(BOARD, THREADS)),
        "scoreboard-full",
        "proxy",
    ),
    "exactly HAProxy's number": (
        a_result(HAPROXY, 100, some()),
        WORKS,
        "connections-exhausted",
        "proxy",
    ),
    "no known number": (a_result(HAPROXY, 57, some()), WORKS, "capacity-reached", "proxy"),
    "the service is full": (
        a_result(NGINX, 200, some("upgrade", "answered 502 Bad Gateway")),
        Observed(service="refuses connections"),
        "capacity-reached",
        "backend",
    ),
    "no connection from here": (
        a_result(NGINX, 0, some("connect", "did not answer within 10 s", 0)),
        WORKS,
        "unreachable-from-here",
        "proxy",
    ),
    "unanswered pings": (
        a_result(NGINX, 300, figures={"unanswered": 12}),
        Observed(),
        "no-pong",
        "backend",
    ),
    "closed by a reload": (
        a_result(
            NGINX,
            300,
            ended=(
                LossGroup(
                    words="closed it without a Close frame", count=300, first_s=14.1, last_s=14.2
                ),
            ),
            change=Change(what="reloaded", at_s=10.0, leaving=0),
        ),
        Observed(),
        "drain-cut",
        "proxy",
    ),
    "Apache is gone": (
        a_result(
            APACHE,
            5,
            ended=(LossGroup(words="reset it", count=5, first_s=10.0, last_s=10.1),),
            change=Change(what="gone", at_s=10.5, leaving=0),
        ),
        Observed(),
        "apache-gone",
        "proxy",
    ),
    "closed by the service": (
        a_result(
            NGINX,
            300,
            ended=(LossGroup(words="closed it with code 1013", count=9, first_s=1, last_s=2),),
        ),
        Observed(),
        "connection-dropped",
        "backend",
    ),
    "closed when idle": (
        a_result(
            NGINX,
            300,
            ended=(LossGroup(words="reset it", count=9, first_s=1, last_s=9, silent_s=3.1),),
            idle_s=3.0,
        ),
        Observed(),
        "idle-cut",
        "proxy",
    ),
    "lost for an unknown reason": (
        a_result(NGINX, 300, ended=(LossGroup(words="reset it", count=9, first_s=1, last_s=2),)),
        Observed(),
        "connection-dropped",
        "proxy",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_limit_that_was_reached_is_found(name: str) -> None:
    result, observed, code, hop = CASES[name]
    check = judge_load(result, observed)
    assert check.finding is not None
    assert (check.ok, check.finding.code, check.finding.hop) == (False, code, hop)
    assert check.finding.cause
    assert check.finding.fix
    text = "".join(word for row in load_rows([result], "", width=80) for word, _ in row)
    assert "1,000 connections at 200/s to 192.0.2.1:443" in text


def test_the_sites_own_drain_is_named() -> None:
    result, observed, _, _ = CASES["closed by a reload"]
    for drain_s, is_named in ((4.0, True), (3600.0, False), (None, False)):
        finding = judge_load(replace(result, drain_s=drain_s), observed).finding
        assert finding is not None
        assert ("for at most 4 s, the `drain`" in finding.cause) is is_named


def test_a_limit_has_its_location_and_a_sufficient_value() -> None:
    finding = judge_load(*CASES["nginx logs it"][:2]).finding
    assert finding is not None
    assert finding.file == "/etc/main.conf:4"
    assert finding.directive == "worker_connections 2048;"
    assert "766 WebSockets" in finding.cause
    assert "worker_connections are not enough" in finding.evidence


def test_other_matching_limits_are_alternatives() -> None:
    finding = judge_load(a_result(APACHE, 10, some()), WORKS).finding
    assert finding is not None
    assert finding.code == "threads-exhausted"
    assert [each.code for each in finding.alternatives] == ["scoreboard-full"]


def test_a_load_within_the_limits_passes() -> None:
    check = judge_load(a_result(NGINX, 1000), Observed())
    assert (check.ok, check.finding) == (True, None)
    assert check.detail == "1,000 of 1,000 open at once, 1,000 of them to the end"


def test_a_limit_of_this_machine_is_not_a_finding() -> None:
    own = FailureGroup(
        phase="own", words="this process cannot open more files", count=9, at_open=1000, first_s=5.0
    )
    check = judge_load(a_result(NGINX, 1000, own), Observed())
    assert (check.ok, check.finding) == (False, None)
    assert check.detail.startswith("this machine is the limit: at 1,000 open connections")


def test_reloads_and_restarts_are_recognised_by_their_processes() -> None:
    def state(main: int, *workers: int, leaving: tuple[int, ...] = (), **given: Any) -> ProxyState:
        processes = [a_process(main, 1, "nginx: master process")]
        processes += [a_process(pid, main, "nginx: worker process") for pid in workers]
        processes += [
            a_process(pid, main, "nginx: worker process is shutting down", is_leaving=True)
            for pid in leaving
        ]
        return a_state("nginx", "", *processes, accepted_reload_s_ago=4.0, **given)

    before = state(10, 11, 12)
    assert detect_change(before, state(10, 11, 12), after_s=20.0) is None
    assert detect_change(before, state(10, 11, 13), after_s=20.0) is None, "a worker has crashed"
    reloaded = detect_change(before, state(10, 21, 22, leaving=(11, 12)), after_s=20.0)
    assert reloaded == Change(what="reloaded", at_s=16.0, leaving=2)
    restarted = detect_change(before, state(30, 31, 32), after_s=20.0)
    assert restarted == Change(what="restarted", at_s=16.0, leaving=0)


def test_groups_and_percentiles() -> None:
    failures = [("tls", "reset it", 10, 1.0), ("tls", "reset it", 9, 1.5), ("connect", "x", 1, 0.5)]
    first, second = failure_groups(failures)
    assert (first.count, first.at_open, first.first_s) == (2, 10, 1.0)
    assert second.count == 1
    many = failure_groups([("tls", f"words {n}", 0, float(n)) for n in range(50)])
    assert len(many) == 13
    assert sum(group.count for group in many) == 50
    groups = loss_groups([("a", 2.0, 0.5), ("a", 1.0, 0.7), ("b", 3.0, 0.1)])
    assert [(each.words, each.count, each.first_s, each.last_s) for each in groups] == [
        ("a", 2, 1.0, 2.0),
        ("b", 1, 3.0, 3.0),
    ]
    found = percentiles([0.1 * n for n in range(1, 101)])
    assert found is not None
    assert (found.p50, found.p99, found.most) == pytest.approx((5.0, 9.9, 10.0))
    assert percentiles([]) is None


def test_the_number_of_open_connections_at_a_time() -> None:
    figures = Figures(
        asked=3, tried=3, opened=3, most_open=3, opened_at=(1.0, 2.0, 3.0), ended_at=(2.5,)
    )
    assert [figures.open_at(moment) for moment in (0.5, 2.0, 2.6, 9.0)] == [0, 2, 1, 2]


def test_the_json_document_is_complete() -> None:
    document = load_json(CASES["closed by a reload"][0])
    assert document["change"] == {"what": "reloaded", "at_s": 10.0, "leaving": 0}
    assert document["losses"] == 300
    assert document["limits"][0]["websockets"] == 766
