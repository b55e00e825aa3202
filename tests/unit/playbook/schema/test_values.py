"""The value types: the canonical form of each value, and rejected values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from deployer.playbook.schema import values
from deployer.playbook.schema.values import InvalidValue
from deployer.playbook.yaml.source import OctalInt

GOOD: list[tuple[Callable[[Any], Any], Any, Any]] = [
    (values.domain, "Stats.Example.com.", "stats.example.com"),
    (values.domain, "bücher.example", "xn--bcher-kva.example"),
    (values.domain, "*.example.com", "*.example.com"),
    (values.domain, "localhost", "localhost"),
    (values.domain, "192.0.2.7", "192.0.2.7"),
    (values.domain, "2001:DB8::1", "2001:db8::1"),
    (values.port, "443", 443),
    (values.url_path, "/api/v1/", "/api/v1/"),
    (values.file_path, "/srv//a/./b/", "/srv/a/b"),
    (values.duration_s, "75s", 75.0),
    (values.duration_s, "1h30m", 5400.0),
    (values.duration_s, "500ms", 0.5),
    (values.duration_s, "180d", 15552000.0),
    (values.size_bytes, "64k", 65536),
    (values.size_bytes, "16M", 16777216),
    (values.size_bytes, "1g", 1073741824),
    (values.size_bytes, 1000, 1000),
    (values.duration_s, 90, 90.0),
    (values.origin, "HTTPS://Stats.Example.com:443", "https://stats.example.com"),
    (values.origin, "http://localhost:3000", "http://localhost:3000"),
    (values.origin, "https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    (values.mode, "0644", "0644"),
    (values.mode, "755", "0755"),
    (values.mode, OctalInt(0o640), "0640"),
    (values.mode, "u=rw,g=r,o=", "0640"),
    (values.mode, "u=rwxs,go=rx", "4755"),
    (values.email, "ops@Example.com", "ops@example.com"),
    (values.subprotocol, "actioncable-v1-json", "actioncable-v1-json"),
    (values.split_command, "a 'b c' \"d|e\"", ("a", "b c", "d|e")),
    (values.upstream, "wss://app.internal", "https://app.internal:443"),
    (values.upstream, "127.0.0.1:3000", "http://127.0.0.1:3000"),
    (values.upstream, "http://[::1]:80/", "http://[::1]:80"),
    (values.upstream, "unix:/run/app.sock", "unix:/run/app.sock"),
]

BAD: list[tuple[Callable[[Any], Any], list[Any]]] = [
    (
        values.domain,
        ["", "a..b", "-a.example", "a-.example", "a b", "a_b.example", "1.2.3", "x" * 64],
    ),
    (values.domain, ["straße.example", "*", "*.com", "a.*.b", None, True, ["a"], "a/b", "a\x00b"]),
    (values.port, [0, 65536, -1, "x", "", True, 1.5, None, "８０"]),
    (values.url_path, ["ws", "", "/a b", "/a%2e", "/..", "/a//b", "/ä", "/a?b", "/a#b", 5]),
    (values.file_path, ["a", "/a/../b", "/a\nb", "/" + "x" * 256]),
    (values.size_bytes, ["16 MB", "m", "1.5g", -1, 0, True, None, "9999999g"]),
    (values.duration_s, ["1 hour", "h", "1.5.2s", -1, 0, "0s", True, None, "99999d", float("nan")]),
    (values.origin, ["*", "null", "x", "https://a/", "https://a:99999", "https://u@a", 5]),
    (values.mode, [644, "9", "rw", "u=rw", "u+x", 0o644, "07777777", None, True]),
    (values.email, ["a", "@b.example", "a@", "a b@c.example", "a\n@c.example", 5]),
    (values.subprotocol, ["", "a b", "a,b", 'a"b']),
    (values.account, ["", "a b", "a:b", "-a", "x" * 40]),
    (values.unit, ["", "-a", "a b", "a/b"]),
    (values.package, ["", "-y", "a b", "a=1", "a;b"]),
    (
        values.split_command,
        ["", "a | b", "a > b", "a; b", "a && b", "a `b`", "a $(b)", "a $B", "a 'b"],
    ),
    (
        values.upstream,
        ["h", "http://", "ftp://h", "http://h/p", "http://u@h", "::1:80", "h:0", True],
    ),
]

# What could end a directive, a string, a word or a line wherever it were printed.
BREAKERS = [
    ";",
    "{",
    "}",
    '"',
    "'",
    "\n",
    "\r",
    "\0",
    "$",
    "`",
    "\\",
    " ",
    "\t",
    "#",
    "|",
    "\u2028",
]


@pytest.mark.parametrize(("check", "value", "expected"), GOOD)
def test_canonical(check: Callable[[Any], Any], value: Any, expected: Any) -> None:
    found = check(value)
    assert (str(found) if check is values.upstream else found) == expected


@pytest.mark.parametrize(
    ("check", "value"), [(check, value) for check, wrong in BAD for value in wrong]
)
def test_rejected(check: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(InvalidValue):
        check(value)


@pytest.mark.parametrize("breaker", BREAKERS)
@pytest.mark.parametrize(
    ("check", "value"),
    [
        (values.domain, "a{}b.example"),
        (values.url_path, "/a{}b"),
        (values.absolute_path, "/a{}b"),
        (values.upstream, "http://a{}b:80"),
        (values.upstream, "unix:/a{}b"),
        (values.origin, "https://a{}b.example"),
        (values.email, "a@a{}b.example"),
        (values.package, "a{}b"),
    ],
)
def test_no_value_contains_special_characters(
    check: Callable[[Any], Any], value: str, breaker: str
) -> None:
    with pytest.raises(InvalidValue):
        check(value.replace("{}", breaker))


@pytest.mark.parametrize("text", ["a.example\n", "/ws\n", "0644\n", "75s\n", "root\n", "nginx\n"])
def test_a_trailing_line_break_is_rejected(text: str) -> None:
    for check in (
        values.domain,
        values.url_path,
        values.mode,
        values.duration_s,
        values.account,
        values.package,
        values.unit,
    ):
        with pytest.raises(InvalidValue):
            check(text)


def test_secret_values_are_not_shown() -> None:
    with pytest.raises(InvalidValue) as caught:
        values.domain("hunter2;")
    assert caught.value.text(secret=True) == "(secret) is not a domain"
