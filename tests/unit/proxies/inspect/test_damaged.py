"""Configurations that are damaged, or meant ill: readers end, and raise nothing."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest

from deployer.proxies.inspect import faults, served
from deployer.proxies.inspect.model import ConfigFile, ProxyState
from tests.support.proxies.recorded import recorded
from tests.support.waiting import at_most

_STATES = [
    recorded(name) for name in ("apache-routes", "apache-threads", "haproxy-routes", "haproxy-full")
]
_STATES.append(recorded("nginx-port-taken-13"))
_PIECES = (
    *("{", "}", '"', "'", "\\", "$", "${", "%[", "(", ")", "{ ", "!", "\0", "é", "#", "*", "["),
    *("]", "include /etc/nginx/*.conf;", "\n", "server", "location", "if", "map", "ProxyPass"),
    *("</VirtualHost>", "<VirtualHost", "RewriteRule", "use_backend", "acl", "bind", "timeout"),
    *("99999999999999999999", "-1", "http://[", "unix:", "ws://x:99999/", ":", "//", "?"),
    *("regsub(", "map(/x)", "req.hdr(", "-f", "-m", "~ ", "^/(", "(?P<x>", ",", "# show stat"),
)


def _damaged(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    for _ in range(chance.randint(1, 6)):
        number = chance.randrange(len(lines))
        words = lines[number].split(" ")
        place = chance.randrange(len(words))
        how = chance.randrange(4)
        if how == 0 and len(lines) > 1:
            del lines[number]
            continue
        if how == 1:
            words[place] = chance.choice(_PIECES)
        elif how == 2:
            words[place] += chance.choice(_PIECES)
        else:
            words = words[:place]
        lines[number] = " ".join(words)
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(15))
def test_nothing_is_raised(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    for state in _STATES:
        config = tuple(replace(each, text=_damaged(each.text, chance)) for each in state.config)
        state = replace(
            state,
            config=config,
            dump=_damaged(state.dump, chance),
            log=tuple(_damaged("\n".join(state.log), chance).split("\n")),
            test_ok=chance.choice((True, False, None)),
            test_output=_damaged(state.test_output or "[emerg] x in /etc/a:1", chance),
        )
        for path in ("/ws", "/x(y"):
            served(state, name="chat.example", port=80, path=path, tls=False)
            faults(state, name="chat.example", port=80, path=path, tls=False)


def _nginx(*files: tuple[str, str]) -> ProxyState:
    config = tuple(ConfigFile(path=path, text=text) for path, text in files)
    return ProxyState(proxy="nginx", version="1.22.1", is_running=True, config=config)


def test_files_that_include_themselves_and_each_other() -> None:
    """nginx itself refuses them; without a bound this would take for ever."""
    site = "server { listen 80; server_name chat.example; location / { return 200; } }"
    every = "include /etc/nginx/*.conf; include /etc/nginx/*.conf;"
    began = time.monotonic()
    served(
        _nginx(
            ("/etc/nginx/nginx.conf", f"events {{}}\nhttp {{\n{every}\n{site}\n}}"),
            *((f"/etc/nginx/{number}.conf", every) for number in range(12)),
        ),
        name="chat.example",
        port=80,
        path="/ws",
        tls=False,
    )
    assert time.monotonic() - began < at_most(20)

    itself = "include /etc/nginx/*.conf;"
    way = served(
        _nginx(("/etc/nginx/nginx.conf", f"events {{}}\nhttp {{\n{itself}\n{site}\n}}")),
        name="chat.example",
        port=80,
        path="/ws",
        tls=False,
    )
    assert way is not None
    assert way.line == 4


def test_a_long_file_that_is_damaged_is_read_up_to_there() -> None:
    server = 'server {{ # x {{\n listen 80; server_name s{}; location / {{ return 200 "{{"; }} }}\n'
    text = "events {}\nhttp {\n" + "".join(server.format(number) for number in range(4000))
    state = _nginx(("/etc/nginx/nginx.conf", text + "server { location / { foo } }\n"))
    began = time.monotonic()
    way = served(state, name="s3999", port=80, path="/", tls=False)
    assert way is not None
    assert way.names == ("s3999",)
    assert time.monotonic() - began < at_most(10)
