"""Valid certificates, and one invalid in each way, as seen by a strict client."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from deployer.sites.model import Site, Tls
from deployer.verify import verify_site
from deployer.verify.judge.causes import certificate_diagnosis
from deployer.verify.net.access import Access
from deployer.verify.net.stream import Deadline
from deployer.verify.options import Limits, ProxyAddress
from deployer.verify.probe.attempt import Attempt
from deployer.verify.probe.certificate import ServedCertificate, attempt_tls, describe_refusal
from deployer.verify.probe.spec import Endpoint, TlsProbe
from tests.support.certificates.pki import EXPIRED, authority, issued, server_context
from tests.support.servers.scripted import Peer, Server, dial

NAME = "stats.example.com"


def attempted(
    port: int, *, roots_pem: bytes | None = None, issuer: str = "provided", name: str = NAME
) -> Attempt:
    probe = TlsProbe(
        uri=f"https://{name}",
        hop="proxy",
        endpoint=Endpoint(host="127.0.0.1", port=port, tls=True),
        server_name=name,
        issuer=issuer,
    )
    roots = authority("Root").pem if roots_pem is None else roots_pem
    return attempt_tls(
        probe, Access(dial=dial, timeout_s=5.0, until=Deadline(10.0), roots_pem=roots)
    )


def waits(peer: Peer) -> None:
    peer.until_it_leaves()


def right(folder: Path) -> ssl.SSLContext:
    return server_context(folder, issued(NAME, by=authority("Root")))


def with_intermediate(folder: Path) -> ssl.SSLContext:
    between = issued("Between", by=authority("Root"), is_ca=True)
    return server_context(folder, issued(NAME, by=between), between)


def leaf_alone(folder: Path) -> ssl.SSLContext:
    between = issued("Between", by=authority("Root"), is_ca=True)
    return server_context(folder, issued(NAME, by=between))


def another_name(folder: Path) -> ssl.SSLContext:
    return server_context(folder, issued("other.example.com", by=authority("Root")))


def expired(folder: Path) -> ssl.SSLContext:
    return server_context(folder, issued(NAME, by=authority("Root"), ends=EXPIRED))


def self_signed(folder: Path) -> ssl.SSLContext:
    return server_context(folder, issued(NAME, by=None))


def unknown_issuer(folder: Path) -> ssl.SSLContext:
    other = authority("Other Root")
    return server_context(folder, issued(NAME, by=other), other)


@pytest.mark.parametrize("made", [right, with_intermediate])
def test_a_valid_chain(made: Callable[[Path], ssl.SSLContext], tmp_path: Path) -> None:
    with Server(waits, tls=made(tmp_path)) as server:
        attempt = attempted(server.port)
    assert attempt.failure is None
    assert attempt.note.startswith("TLSv1.3, 30.0 days left") or "29.9 days left" in attempt.note


@pytest.mark.parametrize(
    ("made", "issuer", "code", "says"),
    [
        (leaf_alone, "provided", "tls-incomplete-chain", "without that of its issuer, CN=Between"),
        (leaf_alone, "internal", "tls-untrusted", "from an unknown issuer, CN=Between"),
        (another_name, "provided", "tls-wrong-name", "for other.example.com, not for stats."),
        (expired, "provided", "tls-expired", "expired on"),
        (self_signed, "provided", "tls-untrusted", "self-signed"),
        (unknown_issuer, "provided", "tls-untrusted", "unknown issuer, CN=Other Root"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_invalid_chain(
    made: Callable[[Path], ssl.SSLContext], issuer: str, code: str, says: str, tmp_path: Path
) -> None:
    with Server(waits, tls=made(tmp_path)) as server:
        attempt = attempted(server.port, issuer=issuer)
    assert attempt.failure is not None
    assert (attempt.failure.code, says in attempt.failure.words) == (code, True), attempt
    assert " sent; OpenSSL: " in attempt.failure.evidence


def test_a_single_certificate_may_be_the_whole_chain(tmp_path: Path) -> None:
    with Server(waits, tls=leaf_alone(tmp_path)) as server:
        attempt = attempted(server.port, issuer="provided")
    assert attempt.failure is not None
    (other,) = certificate_diagnosis(attempt.failure, proxy="nginx", issuer="provided").alternatives
    assert other.code == "tls-untrusted"


def test_a_public_ca_names_the_url_of_its_certificate() -> None:
    shown = ServedCertificate(
        subject=f"CN={NAME}",
        issuer="CN=R11,O=Let's Encrypt,C=US",
        names=(NAME,),
        not_before="2026-10-01 00:00 UTC",
        not_after="2026-12-30 00:00 UTC",
        chain_length=1,
        issuer_uri="http://r11.i.lencr.org/",
    )
    failure = describe_refusal(20, "unable to get", shown, name=NAME, issuer_keyword="provided")
    assert failure.code == "tls-incomplete-chain"
    assert "issuer's certificate is at http://r11.i.lencr.org/" in failure.evidence
    assert not certificate_diagnosis(failure, proxy="nginx", issuer="provided").alternatives


def test_the_internal_ca_signs_without_an_intermediate(tmp_path: Path) -> None:
    context = server_context(tmp_path, issued(NAME, by=authority("deployer internal CA 54c2")))
    with Server(waits, tls=context) as server:
        attempt = attempted(server.port, issuer="provided")
    assert attempt.failure is not None
    assert attempt.failure.code == "tls-untrusted"


def test_an_address_as_a_name(tmp_path: Path) -> None:
    context = server_context(tmp_path, issued("127.0.0.1", by=authority("Root")))
    with Server(waits, tls=context) as server:
        assert attempted(server.port, name="127.0.0.1").failure is None
        wrong = attempted(server.port, name="127.0.0.2").failure
    assert wrong is not None
    assert wrong.code == "tls-wrong-name"


def test_old_protocol_versions_are_refused(tmp_path: Path) -> None:
    context = right(tmp_path)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with Server(waits, tls=context) as server:
        attempt = attempted(server.port)
    assert attempt.failure is not None
    assert attempt.failure.code == "tls-failed"
    assert "protocol version" in attempt.failure.words


def test_a_peer_that_disconnects_during_the_handshake() -> None:
    def leaves(peer: Peer) -> None:
        peer.connection.recv(4096)

    with Server(leaves, reads_head=False) as server:
        attempt = attempted(server.port)
    assert attempt.failure is not None
    assert attempt.failure.code in ("tls-closed", "closed")


def test_a_damaged_root_is_a_finding_about_the_settings(tmp_path: Path) -> None:
    with Server(waits, tls=right(tmp_path)) as server:
        site = Site(domain=NAME, tls=Tls(issuer="provided"))
        first, *_ = verify_site(
            site,
            dial=dial,
            roots_pem=b"no certificate",
            proxy=ProxyAddress(https_port=server.port, http_port=server.port),
            limits=Limits(timeout_s=1.0, patience_s=0),
        )
    assert first.finding is not None
    assert (first.finding.code, first.finding.hop) == ("tls-untrusted", "proxy")
    assert "ca_bundle" in first.finding.fix


def test_the_certificate_of_each_name_is_checked(tmp_path: Path) -> None:
    site = Site(domain="*.example.com", aliases=("example.com",), tls=Tls(issuer="internal"))
    context = server_context(tmp_path, issued("*.example.com", by=authority("Root")))
    with Server(waits, tls=context) as server:
        results = verify_site(
            site,
            dial=dial,
            roots_pem=authority("Root").pem,
            proxy=ProxyAddress(https_port=server.port, http_port=1),
            limits=Limits(timeout_s=1.0, patience_s=0),
        )
    wildcard, bare, *_ = results
    assert (wildcard.target, wildcard.ok) == ("*.example.com", True)
    assert bare.finding is not None
    assert bare.finding.code == "tls-wrong-name"
