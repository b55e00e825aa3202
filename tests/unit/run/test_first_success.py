"""What a user reads after the first commit on a host."""

from __future__ import annotations

from pathlib import Path

from deployer.run.first_success import next_steps, url_of
from tests.support.sites.site_case import site

WS = {"path": "/ws", "websocket": "http://127.0.0.1:7890"}
ROOT = {"path": "/", "root": "/var/www"}
VERIFY = "deployer verify site.yml --limit web1"


def test_the_url_the_root_and_the_next_command() -> None:
    steps = list(
        next_steps(
            [site(domain="stats.example.com", routes=[WS, ROOT])],
            root_file=Path("/p/.deployer/ca/root.pem"),
            verify=VERIFY,
        )
    )
    assert steps[0] == "Open https://stats.example.com/"
    assert "will warn" in steps[1]
    assert "--cacert /p/.deployer/ca/root.pem https://stats.example.com/" in steps[1]
    assert steps[2:] == [f"Next: {VERIFY}"]


def test_a_public_certificate_needs_no_root() -> None:
    public = site(domain="a.example.com", routes=[ROOT], tls={"issuer": "letsencrypt"})
    plain = site(domain="b.example.com", routes=[WS], tls={"issuer": "none"})
    steps = list(next_steps([public, plain], root_file=Path("/r"), verify=VERIFY))
    assert steps == ["Open https://a.example.com/ and http://b.example.com/ws", f"Next: {VERIFY}"]


def test_hosts_without_sites_have_nothing_to_open() -> None:
    assert list(next_steps([], root_file=None, verify=VERIFY)) == []


def test_names_of_urls() -> None:
    wild = site(domain="*.example.com", aliases=["example.com"], routes=[ROOT])
    assert url_of(wild) == "https://example.com/"
    assert url_of(site(domain="*.example.com", routes=[ROOT])) == ""
    assert url_of(site(domain="2001:db8::1", routes=[WS], tls={"issuer": "none"})) == (
        "http://[2001:db8::1]/ws"
    )
