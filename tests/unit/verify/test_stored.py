"""What a host keeps to verify a rollback: complete, and without secrets in the clear."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from deployer.sites.model import Check, Route, Site, Tls, Upstream
from deployer.verify.stored import restored, secrets_in, stored

TOKEN = "s3cret-of-the-project"
LITERAL = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
ROUTE = Route(path="/ws", websocket=True, upstreams=(Upstream(host="127.0.0.1", port=3000),))
SITE = Site(
    domain="chat.example.com",
    tls=Tls(issuer="provided", certificate="chat.pem", key="chat.key"),
    routes=(ROUTE,),
    verify=(
        Check(path="/ws", send="ping", expect="pong"),
        Check(path=f"/ws?room=1&token={TOKEN}", subprotocols=("v1", f"bearer.{TOKEN}")),
        Check(path="/ws", send=f'{{"user": "ada", "password": "hunter22", "jwt": "{LITERAL}"}}'),
        Check(path="/ws", send="Authorization: Bearer abcdef-123", origin="https://a.example"),
    ),
)
PROBED = Site(
    domain="probed.example.com",
    routes=(
        Route(
            path="/ws",
            websocket=True,
            upstreams=(Upstream(host="127.0.0.1", port=3000),),
            probe=Check(
                path="/ws?v=2",
                headers=(
                    ("Cookie", f"id={TOKEN}; user=literal-3"),
                    ("Authorization", f"Bearer {TOKEN}"),
                    ("Accept-Language", "en"),
                ),
                statuses=(101, 401),
            ),
        ),
    ),
    verify=(Check(path="/ws/x", headers=(("X-Token", TOKEN),)),),
)
PLAIN = Site(domain="plain.example.com", routes=(ROUTE,))
ROOTS: dict[str, bytes | None] = {"chat.example.com": b"-----BEGIN CERTIFICATE-----\n"}
SECRETS = frozenset({TOKEN})


def known_to(site: Site) -> set[str]:
    return secrets_in(
        {
            "path": check.path,
            "send": check.send,
            "expect": check.expect,
            "origin": check.origin,
            "subprotocols": check.subprotocols,
        }
        for check in site.verify
    )


def test_sites_checks_and_roots_come_back_as_they_were() -> None:
    documents, verification = json.loads(json.dumps(stored((SITE, PLAIN), ROOTS, SECRETS)))
    sites, roots, left_out = restored(documents, verification, SECRETS | known_to(SITE))
    assert (sites, roots, left_out) == ((SITE, PLAIN), ROOTS, ())


def test_no_secret_is_stored_in_the_clear() -> None:
    text = json.dumps(stored((SITE,), ROOTS, SECRETS))
    for secret in (TOKEN, "hunter22", LITERAL, "abcdef-123"):
        assert secret not in text
    assert "ping" in text
    assert "pong" in text


def test_equal_secrets_have_different_hashes_in_each_generation() -> None:
    one, other = (stored((SITE,), ROOTS, SECRETS)[1] for _ in range(2))
    assert not set(one["hashes"]) & set(other["hashes"])


@pytest.mark.parametrize(
    ("known", "kept", "missing"),
    [
        (frozenset({TOKEN}), [0, 1], [3, 4]),
        (frozenset({"another secret"}), [0], [2, 3, 4]),
        (frozenset(), [0], [2, 3, 4]),
    ],
)
def test_a_check_whose_secret_is_unknown_now_is_left_out_and_named(
    known: frozenset[str], kept: list[int], missing: list[int]
) -> None:
    documents, verification = stored((SITE,), ROOTS, SECRETS)
    (site,), _, left_out = restored(documents, verification, known)
    assert site.verify == tuple(SITE.verify[number] for number in kept)
    assert [text.split(" in ")[0] for text in left_out] == [f"check {each}" for each in missing]
    assert all("chat.example.com" in text for text in left_out)


def test_a_site_without_secrets_needs_none() -> None:
    documents, verification = stored((PLAIN,), {}, SECRETS)
    assert verification["hidden"] == []
    assert restored(documents, verification, frozenset()) == ((PLAIN,), {}, ())


def test_headers_are_hidden_and_found_by_the_words_of_the_playbook() -> None:
    documents, verification = json.loads(json.dumps(stored((PROBED,), {}, SECRETS)))
    text = json.dumps([documents, verification])
    assert TOKEN not in text
    assert "literal-3" not in text
    assert "Accept-Language" in text
    written = {"headers": {"Cookie": "id={{ token }}; user=literal-3", "Authorization": "Bearer x"}}
    known = SECRETS | secrets_in([written])
    assert restored(documents, verification, known) == ((PROBED,), {}, ())


def test_a_route_whose_probe_cannot_be_restored_is_not_probed() -> None:
    """A bare handshake would fail, and the rollback would be reverted."""
    documents, verification = stored((PROBED,), {}, SECRETS)
    (site,), _, left_out = restored(documents, verification, frozenset({"other"}))
    assert not site.routes[0].is_probed
    assert site.verify == ()
    assert [text.partition(" of probed")[0] for text in left_out] == [
        "check 1 in `verify`",
        "the probe of route 1",
    ]
    entry = replace(SITE, verify=(Check(path="/ws", headers=(("X-Token", TOKEN),)),))
    (site,), _, _ = restored(*stored((entry,), {}, SECRETS), frozenset())
    assert not site.routes[0].is_probed
