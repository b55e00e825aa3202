"""Names that match patterns, and the addresses that reach what listens on all of them."""

from __future__ import annotations

import re

import pytest

from deployer.proxies.inspect.names import Loopback, ServedName, from_glob, from_regex


@pytest.mark.parametrize(
    "pattern",
    [
        r"^www\.example\.com$",
        r"^(?<sub>.+)\.example\.com$",
        r"^(www\.)?(?<d>[a-z0-9-]+)\.(com|org)$",
        r"(a|b)c+\d{2}",
        r"^[^.]+\.x$",
        r"^(?:(?:a|b)\.)*c$",
        r"\.php$",
        r"^/(api|ws)/v\d+",
        r"^(?i)mixed$",
    ],
)
def test_a_text_that_matches(pattern: str) -> None:
    made = from_regex(pattern)
    python = re.sub(r"\(\?<(?=[A-Za-z_])", "(?P<", pattern)
    if made is None:
        with pytest.raises((re.error, AssertionError)):  # never a text that does not match
            assert re.search(python, "")
    else:
        assert re.search(python, made)


@pytest.mark.parametrize("pattern", ["[", "(", "a{2,", "(?!a)a", "\\", "", "((((" * 100])
def test_a_pattern_that_is_not_understood(pattern: str) -> None:
    made = from_regex(pattern)
    assert made is None or re.search(pattern, made)


def test_globs() -> None:
    assert from_glob("*.example.com") == "any-name.example.com"
    assert from_glob("www.example.*") == "www.example.test"
    assert from_glob("app?.example.com") == "appx.example.com"
    assert from_glob("a.example.com") == "a.example.com"


def test_a_loopback_address_that_no_server_has_for_itself() -> None:
    at = Loopback([("127.0.0.1", 80), ("[::1]", 80)])
    assert at.of("*", 80) == "127.0.0.2"
    assert at.of("0.0.0.0", 443) == "127.0.0.1"  # noqa: S104 - compared
    assert at.of("[::]", 80) == ""
    assert at.of("[::]", 443) == "::1"
    assert at.of("10.0.0.5", 80) == "10.0.0.5"
    assert at.of("[2001:db8::1]", 80) == "2001:db8::1"


@pytest.mark.parametrize(
    ("served", "url"),
    [
        (
            ServedName(proxy="nginx", name="a.com", asked="a.com", port=443, tls=True),
            "https://a.com",
        ),
        (
            ServedName(proxy="nginx", name="a.com", asked="a.com", port=80, tls=True),
            "https://a.com:80",
        ),
        (ServedName(proxy="nginx", name="", asked="", port=80, address="::1"), "http://[::1]"),
        (
            ServedName(
                proxy="nginx", name="", asked="", port=25, address="10.0.0.1", speaks_http=False
            ),
            "tcp://10.0.0.1:25",
        ),
    ],
)
def test_how_a_name_is_shown(served: ServedName, url: str) -> None:
    assert served.url == url
