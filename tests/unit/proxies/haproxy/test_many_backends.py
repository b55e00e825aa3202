"""Configurations with many backends are read in linear time. Steps are counted, not seconds."""

from __future__ import annotations

import sys
from types import FrameType

import pytest

from deployer.proxies.haproxy.config import words_of
from deployer.proxies.inspect.by_proxy import faults, served
from deployer.proxies.inspect.model import ConfigFile, ProxyState

HEAD = """\
global
    maxconn 8000
defaults
    mode http
    timeout client 60s
    timeout server 60s
frontend https
    bind :443 ssl crt /etc/haproxy/site.pem
"""
#: The lines of the frontend for one backend, by what they consist of.
STYLES = {
    "named tests": (
        "    acl host{n} hdr(host) -i s{n}.example.com\n    acl path{n} path_beg /ws{n}\n",
        "    use_backend b{n} if host{n} path{n}\n",
    ),
    "tests in braces": (
        "",
        "    use_backend b{n} if {{ hdr(host) -i s{n}.example.com }} {{ path_beg /ws{n} }}\n",
    ),
    "refusals": (
        "    acl net{n} src 10.{n}.0.0/16\n",
        (
            "    http-request reject if net{n}\n    tcp-request content reject if net{n}\n"
            "    use_backend b{n} if {{ path /ws{n} }}\n"
        ),
    ),
    "comments and quotes": (
        "",
        '    use_backend b{n} if {{ hdr(host) "s{n}.example.com" }} {{ path /ws{n} }} # {n}\n',
    ),
}
BACKEND = "backend b{n}\n    timeout tunnel 1h\n    server app 127.0.0.1:{port} check maxconn 1\n"
STATISTICS = (
    "# show info\n# show stat -1 7 -1\n# pxname,svname,qcur,scur,slim,status,check_status\n"
)


def state_of(style: str, count: int) -> ProxyState:
    first, second = STYLES[style]
    numbers = range(count)
    text = "".join(
        [
            HEAD,
            *(first.format(n=n) for n in numbers),
            *(second.format(n=n) for n in numbers),
            *(BACKEND.format(n=n, port=3000 + n) for n in numbers),
        ]
    )
    rows = "".join(f"b{n},app,0,1,1,UP,L4OK\n" for n in numbers)
    return ProxyState(
        proxy="haproxy",
        version="2.6.12",
        is_running=True,
        config=(ConfigFile(path="/etc/haproxy/haproxy.cfg", text=text),),
        dump=STATISTICS + rows,
        log=tuple(f"Server b{n}/app is DOWN, reason: Layer4 timeout," for n in numbers),
    )


def steps(style: str, count: int, path: str) -> int:
    """How many functions are called to explain a request."""
    state, calls = state_of(style, count), 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    request = {"name": f"s{count - 1}.example.com", "port": 443, "tls": True}
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        found = faults(state, path=path.format(n=count - 1), **request)  # type: ignore[arg-type]
        served(state, path=path.format(n=count - 1), **request)  # type: ignore[arg-type]
    finally:
        sys.setprofile(before)
    assert found
    return calls


@pytest.mark.parametrize("path", ["/ws{n}", "/elsewhere"])
@pytest.mark.parametrize("style", STYLES)
def test_the_steps_grow_with_the_number_of_backends(style: str, path: str) -> None:
    few, many = steps(style, 100, path), steps(style, 400, path)
    assert few > 100
    assert many < 4.4 * few


def test_words_without_quotes_are_as_with_them() -> None:
    line = "  use_backend b1   if\t{ path_beg -i /ws }  "
    assert words_of(line) == words_of(line + "#") == tuple(line.split())
