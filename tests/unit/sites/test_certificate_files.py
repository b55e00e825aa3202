"""Certificates provided by the user: accepted files, and the error for each rejected one."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from deployer.errors import SourceError
from deployer.model import SourceRef
from deployer.sites.certificate_files import covers, provided
from deployer.sites.model import Site, Tls

NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


@dataclass
class Issued:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def issue(
    title: str,
    *,
    by: Issued | None = None,
    names: tuple[str, ...] = (),
    not_before: datetime.datetime = NOW - DAY,
    not_after: datetime.datetime = NOW + DAY,
    published_issuer: bool = False,
) -> Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
    )
    if names:
        alternatives: list[x509.GeneralName] = []
        for name in names:
            if name[0].isdigit():
                alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
            else:
                alternatives.append(x509.DNSName(name))
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    if published_issuer:
        where = x509.UniformResourceIdentifier("http://ca.example/issuer.der")
        access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, where)
        builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
    return Issued(key, builder.sign(by.key if by else key, hashes.SHA256()))


ROOT = issue("Root")
MIDDLE = issue("Middle", by=ROOT)
LEAF = issue("leaf", by=MIDDLE, names=("example.com", "*.example.com"), published_issuer=True)
SITE = Site(
    domain="example.com",
    aliases=("www.example.com",),
    tls=Tls(issuer="provided", certificate="site.pem", key="site.key"),
    source=SourceRef("site.yml", 7, 5),
)


def place(folder: Path, *chain: bytes, key: bytes = LEAF.key_pem) -> None:
    (folder / "site.pem").write_bytes(b"".join(chain))
    (folder / "site.key").write_bytes(key)


def test_a_whole_chain_is_accepted(tmp_path: Path) -> None:
    place(tmp_path, LEAF.pem, MIDDLE.pem)
    files = provided(SITE, tmp_path, now=NOW)
    assert files.fullchain_pem == LEAF.pem + MIDDLE.pem
    assert files.key_pem == LEAF.key_pem
    assert files.root_pem is None
    assert files.names == ("example.com", "*.example.com")
    assert files.issuer == "CN=Middle"
    assert files.not_after == NOW + DAY
    assert "PRIVATE KEY" not in repr(files)


def test_a_root_at_the_end_is_the_root_that_clients_must_trust(tmp_path: Path) -> None:
    place(tmp_path, LEAF.pem, MIDDLE.pem, ROOT.pem)
    assert provided(SITE, tmp_path, now=NOW).root_pem == ROOT.pem


WITH_BUNDLE = replace(SITE, tls=replace(SITE.tls, ca_bundle="roots.pem"))


def test_the_roots_of_a_bundle_are_those_that_clients_must_trust(tmp_path: Path) -> None:
    other = issue("Another root")
    place(tmp_path, LEAF.pem, MIDDLE.pem)
    (tmp_path / "roots.pem").write_bytes(other.pem + ROOT.pem)
    assert provided(WITH_BUNDLE, tmp_path, now=NOW).root_pem == other.pem + ROOT.pem
    (tmp_path / "roots.pem").write_bytes(MIDDLE.pem)  # a trusted intermediate ends the chain
    assert provided(WITH_BUNDLE, tmp_path, now=NOW).root_pem == MIDDLE.pem


def test_a_chain_that_does_not_lead_to_the_bundle_is_refused(tmp_path: Path) -> None:
    place(tmp_path, LEAF.pem, MIDDLE.pem)
    (tmp_path / "roots.pem").write_bytes(issue("Root").pem)  # the same name, with a different key
    with pytest.raises(SourceError, match=r"does not lead to a certificate in .*roots\.pem"):
        provided(WITH_BUNDLE, tmp_path, now=NOW)
    (tmp_path / "roots.pem").unlink()
    with pytest.raises(SourceError, match=r"cannot read .*roots\.pem"):
        provided(WITH_BUNDLE, tmp_path, now=NOW)


def test_a_private_root_may_sign_a_leaf_directly(tmp_path: Path) -> None:
    leaf = issue("leaf", by=ROOT, names=SITE.names)
    place(tmp_path, leaf.pem, key=leaf.key_pem)
    assert provided(SITE, tmp_path, now=NOW).fullchain_pem == leaf.pem


def test_a_key_in_the_certificate_file_is_not_copied(tmp_path: Path) -> None:
    place(tmp_path, LEAF.key_pem, LEAF.pem, MIDDLE.pem)
    assert b"PRIVATE KEY" not in provided(SITE, tmp_path, now=NOW).fullchain_pem


LATE = issue("leaf", by=ROOT, names=SITE.names, not_after=NOW - datetime.timedelta(seconds=1))
EARLY = issue("leaf", by=ROOT, names=SITE.names, not_before=NOW + datetime.timedelta(hours=1))
OTHER = issue("leaf", by=ROOT, names=("other.example.net", "192.0.2.1"))
ENCRYPTED = LEAF.key.private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
)


@pytest.mark.parametrize(
    ("chain", "key", "words"),
    [
        ([LEAF.pem], LEAF.key_pem, "only the site's certificate, without its issuer's"),
        ([LEAF.pem, ROOT.pem], LEAF.key_pem, "certificate 2 did not issue certificate 1"),
        ([LEAF.pem, LEAF.pem, MIDDLE.pem], LEAF.key_pem, "did not issue"),
        ([MIDDLE.pem, LEAF.pem], LEAF.key_pem, "does not belong to the first certificate"),
        ([LEAF.pem, MIDDLE.pem], ROOT.key_pem, "does not belong to the first certificate"),
        ([LEAF.pem, MIDDLE.pem], ENCRYPTED, "is encrypted"),
        ([LEAF.pem, MIDDLE.pem], b"nonsense", "is not a readable private key"),
        ([b"nonsense"], LEAF.key_pem, "contains no readable certificate"),
        ([LATE.pem], LATE.key_pem, "expired on 2026-11-20 23:59 UTC"),
        ([EARLY.pem], EARLY.key_pem, "not valid before 2026-11-21 01:00 UTC"),
        ([OTHER.pem], OTHER.key_pem, "is not for example.com, www.example.com"),
    ],
)
def test_errors_have_a_reason_and_a_position(
    tmp_path: Path, chain: list[bytes], key: bytes, words: str
) -> None:
    place(tmp_path, *chain, key=key)
    with pytest.raises(SourceError, match=words) as refused:
        provided(SITE, tmp_path, now=NOW)
    assert str(refused.value).startswith("site.yml:7:5: ")
    assert refused.value.hint
    assert "nonsense" not in str(refused.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot read .*site\.pem: No such file"):
        provided(SITE, tmp_path, now=NOW)


def test_a_site_without_a_key(tmp_path: Path) -> None:
    site = Site(domain="example.com", tls=Tls(issuer="provided", certificate="site.pem"))
    place(tmp_path, LEAF.pem, MIDDLE.pem)
    with pytest.raises(SourceError, match="without `key:`"):
        provided(site, tmp_path, now=NOW)


@pytest.mark.parametrize(
    ("name", "covered"),
    [
        ("example.com", True),
        ("EXAMPLE.com", True),
        ("www.example.com", True),
        ("a.www.example.com", False),
        ("example.org", False),
    ],
)
def test_a_wildcard_matches_one_label(name: str, covered: bool) -> None:
    assert covers(("example.com", "*.example.com"), name) is covered
