"""What the state of a proxy shows: recorded from hosts on which it was so, and healthy twins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployer.proxies.inspect.logs import latest, lines
from deployer.proxies.inspect.model import Fault, Process, ProxyState
from deployer.proxies.inspect.state import certain, possible
from tests.support.proxies.recorded import haproxy, recorded


def _only(found: tuple[Fault, ...], code: str) -> Fault:
    matching = [fault for fault in found if fault.code == code]
    assert [fault.code for fault in found if fault.code == code] == [code], found
    return matching[0]


@pytest.mark.parametrize("image", ["11", "12", "13"])
def test_apache_that_ended_at_a_reload(image: str) -> None:
    fault = _only(certain(recorded(f"apache-gone-{image}")), "apache-gone")

    assert fault.where == "/etc/apache2/conf-enabled/zz.conf:1"
    assert "127.0.0.1:9999" in fault.cause
    assert "systemctl start apache2" in fault.fix
    assert "proxy-down" in fault.explains


def test_apache_that_was_stopped_is_not_gone() -> None:
    state = recorded("apache-gone-12")
    calm = tuple(line for line in state.log if "could not bind" not in line)

    assert certain(replace(state, log=calm, unit_state="inactive")) == ()


def test_a_proxy_that_was_stopped_does_not_run() -> None:
    stopped = replace(recorded("apache-gone-12"), log=(), unit_state="inactive", test_ok=True)
    fault = _only(possible(stopped), "proxy-down")
    assert fault.cause == (
        "Apache does not run: systemd reports apache2 as inactive, and its own test accepts its"
        " files."
    )
    assert "systemctl start apache2" in fault.fix
    assert possible(replace(stopped, is_running=True, unit_state="active")) == ()


def test_apache_that_runs_again_is_not_gone() -> None:
    assert certain(replace(recorded("apache-gone-12"), is_running=True)) == ()


@pytest.mark.parametrize("image", ["11", "12", "13"])
def test_a_reload_that_haproxy_did_not_take(image: str) -> None:
    fault = _only(certain(recorded(f"haproxy-port-taken-{image}")), "reload-not-taken")

    assert fault.where == "/etc/haproxy/haproxy.cfg:12"
    assert "127.0.0.1:9998" in fault.cause


@pytest.mark.parametrize("image", ["11", "13"])
def test_a_reload_that_nginx_did_not_take(image: str) -> None:
    fault = _only(certain(recorded(f"nginx-port-taken-{image}")), "reload-not-taken")

    assert fault.where == "/etc/nginx/nginx.conf:10"
    assert fault.directive == "listen 127.0.0.1:9999;"


@pytest.mark.parametrize("name", ["haproxy-port-taken-12", "nginx-port-taken-13"])
def test_a_later_reload_that_was_taken_heals_that(name: str) -> None:
    state = replace(recorded(name), accepted_reload_s_ago=0.2)

    assert not [fault for fault in certain(state) if fault.code == "reload-not-taken"]


def test_another_program_that_failed_to_start_is_no_reload() -> None:
    state = recorded("nginx-port-taken-13")
    others = tuple(replace(each, pid=each.pid + 10_000) for each in state.processes)

    found = certain(replace(state, processes=others))

    assert not [fault for fault in found if fault.code == "reload-not-taken"]


def test_files_newer_than_the_running_process_are_a_possibility() -> None:
    state = recorded("nginx-port-taken-13")

    assert _only(possible(state), "reload-not-taken").severity == "warning"
    assert not possible(replace(state, accepted_reload_s_ago=1.0))


def test_a_full_scoreboard() -> None:
    fault = _only(certain(recorded("apache-scoreboard")), "scoreboard-full")

    assert fault.where == "/etc/apache2/mods-enabled/mpm_event.conf:1"
    assert "3 processes" in fault.cause
    assert fault.severity == "error"


def test_a_scoreboard_with_room_is_no_error() -> None:
    state = recorded("apache-scoreboard")
    roomy = state.dump.replace("ServerLimit 3", "ServerLimit 16")

    assert certain(replace(state, dump=roomy, log=())) == ()


def test_a_scoreboard_that_fills_is_a_warning() -> None:
    state = recorded("apache-scoreboard")
    narrow = state.dump.replace("ServerLimit 3", "ServerLimit 5")

    fault = _only(certain(replace(state, dump=narrow, log=())), "scoreboard-full")

    assert fault.severity == "warning"
    assert "after 2 more reloads" in fault.cause


def test_threads_that_are_all_taken() -> None:
    state = recorded("apache-threads")

    fault = _only(certain(state), "threads-exhausted")

    assert fault.where == "/etc/apache2/mods-enabled/mpm_event.conf:6"
    assert "5 requests at once" in fault.cause
    assert not certain(replace(state, websockets=2, log=()))


def test_worker_connections_that_are_all_taken() -> None:
    state = recorded("nginx-port-taken-13")

    fault = _only(certain(state), "connections-exhausted")

    assert fault.where == "/etc/nginx/nginx.conf:4"
    assert "16 connections" in fault.cause
    quiet = replace(state, websockets=2, log=())
    assert not [each for each in certain(quiet) if each.code == "connections-exhausted"]


def test_what_an_nginx_of_before_has_logged_does_not_count() -> None:
    """It was restarted within the same second, with room for more."""
    state = recorded("nginx-port-taken-13")
    state = replace(state, websockets=2, started_s_ago=9.0, accepted_reload_s_ago=9.0)
    said = "1 worker_connections are not enough"
    when = state.local_time.replace("-", "/")
    ours, former = (f"{when} [alert] {pid}#0: {said}" for pid in (state.processes[-1].pid, 999999))

    assert "connections-exhausted" in {each.code for each in certain(replace(state, log=(ours,)))}
    assert certain(replace(state, log=(former,))) == ()


def test_maxconn_of_haproxy_and_of_a_server() -> None:
    found = [fault for fault in certain(recorded("haproxy-full")) if "maxconn" in fault.directive]

    assert [fault.line for fault in found] == [5, 17]
    assert all(fault.code == "connections-exhausted" for fault in found)


def test_a_haproxy_with_room_says_nothing() -> None:
    assert certain(recorded("haproxy-routes")) == ()


@pytest.mark.parametrize(
    ("said", "where", "words"),
    [
        (
            (
                "[ALERT]    (1972) : config : parsing [/etc/haproxy/haproxy.cfg:26] : error"
                " detected while parsing an 'http-request set-path' condition."
            ),
            "/etc/haproxy/haproxy.cfg:26",
            "set-path",
        ),
        (
            (
                "[ALERT] 324/153403 (3023) : parsing [/etc/haproxy/haproxy.cfg:3] : unknown keyword"
                " 'fronted' in 'global' section"
            ),
            "/etc/haproxy/haproxy.cfg:3",
            "fronted",
        ),
    ],
)
def test_files_that_haproxy_refuses(said: str, where: str, words: str) -> None:
    fault = _only(certain(haproxy("", test_ok=False, test_output=said)), "config-invalid")

    assert fault.where == where
    assert words in fault.cause
    assert "cannot start" in fault.cause


def test_files_that_apache_refuses() -> None:
    said = (
        "AH00526: Syntax error on line 4 of /etc/apache2/sites-enabled/site.conf:\n"
        "ProxyPass unknown Worker parameter\nAction '-t' failed.\n"
    )
    state = ProxyState(proxy="apache", is_running=True, test_ok=False, test_output=said)

    fault = _only(certain(state), "config-invalid")

    assert fault.where == "/etc/apache2/sites-enabled/site.conf:4"
    assert "unknown Worker parameter" in fault.cause
    assert "keeps running" in fault.cause


def _process(pid: int, **values: object) -> Process:
    usual = {
        "ppid": 1,
        "age_s": 7200.0,
        "threads": 1,
        "open_files": 20,
        "files_limit": 1024,
        "rss_bytes": 10_000_000,
        "is_leaving": False,
        "title": "haproxy",
    }
    return Process(pid=pid, **{**usual, **values})  # type: ignore[arg-type]


def test_open_files_that_are_nearly_all_taken() -> None:
    state = haproxy("", is_running=True, processes=(_process(7, open_files=1020),))

    fault = _only(certain(state), "files-exhausted")

    assert "1020 of at most 1024 files open" in fault.cause
    assert not certain(replace(state, processes=(_process(7, open_files=500),)))
    assert not certain(replace(state, processes=(_process(7, open_files=None),)))


def test_processes_of_earlier_configurations_that_pile_up() -> None:
    leaving = tuple(_process(pid, ppid=1, is_leaving=True) for pid in (3, 4, 5))
    state = haproxy("global\n daemon\n", is_running=True, processes=leaving)
    capped = haproxy("global\n hard-stop-after 1h\n", is_running=True, processes=leaving)

    fault = _only(possible(state), "drain-uncapped")

    assert "3 processes" in fault.cause
    assert "2.0 h" in fault.cause
    assert "30 MB" in fault.cause
    assert fault.severity == "warning"
    assert possible(capped) == ()
    assert possible(replace(state, processes=leaving[:2])) == ()


def test_a_short_drain_explains_what_was_cut_just_now() -> None:
    text = "global\n hard-stop-after 4s\n"
    just = _only(possible(haproxy(text, accepted_reload_s_ago=6.0)), "drain-cut")
    long_ago = _only(possible(haproxy(text, accepted_reload_s_ago=900.0)), "drain-cut")

    assert just.where == "/etc/haproxy/haproxy.cfg:2"
    assert "connection-dropped" in just.explains
    assert "connection-dropped" not in long_ago.explains


def test_the_age_of_each_kind_of_line() -> None:
    log = (
        "2026/11/21 15:28:06 [emerg] 2445#2445: bind() failed",
        "[Sat Nov 21 15:28:00.565251 2026] [:emerg] [pid 2222:tid 2222] AH00019: exiting",
        "(98)Address already in use: a line of the same moment",
        "2026-11-21T15:27:06+0000 web1 haproxy[1915]: [ALERT] (1915) : no",
        "no time at all",
    )
    state = ProxyState(proxy="nginx", log=log, local_time="2026-11-21 15:28:10")

    read = list(lines(state))

    assert [line.age_s for line in read] == [4, 10, 10, 64, 64]
    assert [line.pid for line in read] == [2445, 2222, None, 1915, None]
    newest = latest(state, "emerg", within_s=5)
    assert newest is not None
    assert newest.pid == 2445
    assert latest(state, "ALERT", within_s=5) is None
