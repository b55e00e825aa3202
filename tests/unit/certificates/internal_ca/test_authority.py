"""The internal CA: the same certificate until it is due, and a store that is right or refused."""

from __future__ import annotations

import datetime
import os
import ssl
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from deployer import private_folder
from deployer.certificates.internal_ca import store
from deployer.certificates.internal_ca.authority import InternalCa, ephemeral
from deployer.errors import UsageError
from tests.support.waiting import PATIENCE_S

NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
NAMES = ("example.com", "www.example.com")


def days(number: float) -> datetime.timedelta:
    return datetime.timedelta(days=number)


def test_the_same_certificate_until_a_third_of_its_time_is_left(tmp_path: Path) -> None:
    first = InternalCa(tmp_path / "ca").certificate_for(NAMES, now=NOW)
    assert InternalCa(tmp_path / "ca").certificate_for(NAMES, now=NOW + days(59)) == first
    renewed = InternalCa(tmp_path / "ca").certificate_for(NAMES, now=NOW + days(61))
    assert renewed.fullchain_pem != first.fullchain_pem
    assert renewed.key_pem != first.key_pem
    assert renewed.root_pem == first.root_pem
    assert InternalCa(tmp_path / "ca").certificate_for(NAMES, now=NOW + days(62)) == renewed


def test_other_names_get_another_certificate(tmp_path: Path) -> None:
    ca = InternalCa(tmp_path / "ca")
    first = ca.certificate_for(NAMES, now=NOW)
    more = ca.certificate_for((*NAMES, "2001:DB8:0::1"), now=NOW)
    assert more.names == (*NAMES, "2001:db8::1")
    assert more.fullchain_pem != first.fullchain_pem
    assert ca.certificate_for((*NAMES, "2001:DB8:0::1"), now=NOW) == more


def test_a_strict_client_accepts_it(tmp_path: Path) -> None:
    files = InternalCa(tmp_path / "ca").certificate_for(NAMES, now=NOW)
    assert files.root_pem is not None
    root = x509.load_pem_x509_certificate(files.root_pem)
    leaf = x509.load_pem_x509_certificate(files.fullchain_pem)
    for name in NAMES:
        verifier = (
            PolicyBuilder().store(Store([root])).time(NOW).build_server_verifier(x509.DNSName(name))
        )
        assert verifier.verify(leaf, []) == [leaf, root]
    assert leaf.not_valid_before_utc == NOW - datetime.timedelta(hours=1)
    assert leaf.not_valid_after_utc == NOW + days(90) == files.not_after
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)


def test_the_key_fits_the_certificate(tmp_path: Path) -> None:
    files = InternalCa(tmp_path / "ca").certificate_for(NAMES, now=NOW)
    both = tmp_path / "both.pem"
    both.write_bytes(files.key_pem + files.fullchain_pem)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(both)


def test_a_name_of_more_than_64_characters(tmp_path: Path) -> None:
    name = "-".join(["long"] * 12) + ".example.com"
    files = InternalCa(tmp_path / "ca").certificate_for([name], now=NOW)
    leaf = x509.load_pem_x509_certificate(files.fullchain_pem)
    assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical
    assert files.names == (name,)


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        InternalCa(tmp_path / "deep/ca").certificate_for(NAMES, now=NOW)
    finally:
        os.umask(umask)
    folder = tmp_path / "deep/ca"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        if b"PRIVATE KEY" in path.read_bytes():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (folder / ".gitignore").read_text() == "*\n"
    assert sorted(path.name for path in folder.iterdir()) == [
        ".gitignore",
        "example.com.pem",
        "lock",
        "root.key",
        "root.pem",
    ]


def test_a_folder_that_is_open_to_others_is_refused(tmp_path: Path) -> None:
    ca = InternalCa(tmp_path / "ca")
    ca.certificate_for(NAMES, now=NOW)
    (tmp_path / "ca").chmod(0o750)
    with pytest.raises(UsageError, match=r"mode 0750[^$]*chmod 700"):
        ca.certificate_for(NAMES, now=NOW)


def test_a_key_that_is_open_to_others_is_refused(tmp_path: Path) -> None:
    ca = InternalCa(tmp_path / "ca")
    ca.certificate_for(NAMES, now=NOW)
    (tmp_path / "ca/root.key").chmod(0o640)
    with pytest.raises(UsageError, match=r"others on this machine may read[^$]*chmod 600"):
        ca.certificate_for(NAMES, now=NOW)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("root.key", b"", "root.key has no key that can be read"),
        ("root.pem", b"garbage", "root.pem has no certificate that can be read"),
        ("example.com.pem", b"", "example.com.pem has no key that can be read"),
        ("root.key", None, "root.key is missing"),
        ("root.pem", None, "root.pem is missing"),
    ],
)
def test_a_broken_store_is_an_error(
    tmp_path: Path, file: str, content: bytes | None, words: str
) -> None:
    ca = InternalCa(tmp_path / "ca")
    ca.certificate_for(NAMES, now=NOW)
    path = tmp_path / "ca" / file
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=words) as broken:
        ca.certificate_for(NAMES, now=NOW)
    assert broken.value.hint


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("root.key", "root.key does not belong to root.pem"),
        ("example.com.pem", "example.com.pem was not issued by root.pem"),
    ],
)
def test_files_of_another_store_are_an_error(tmp_path: Path, file: str, words: str) -> None:
    for name in ("ca", "other"):
        InternalCa(tmp_path / name).certificate_for(NAMES, now=NOW)
    (tmp_path / "ca" / file).write_bytes((tmp_path / "other" / file).read_bytes())
    with pytest.raises(UsageError, match=words):
        InternalCa(tmp_path / "ca").certificate_for(NAMES, now=NOW)


def test_an_expired_root_is_an_error(tmp_path: Path) -> None:
    ca = InternalCa(tmp_path / "ca")
    ca.root_pem(now=NOW)
    with pytest.raises(UsageError, match="expired on 2036-11-20"):
        ca.root_pem(now=NOW + days(3653))


def test_a_leaf_never_outlives_its_root(tmp_path: Path) -> None:
    ca = InternalCa(tmp_path / "ca")
    ca.root_pem(now=NOW)
    late = ca.certificate_for(NAMES, now=NOW + days(3600))
    assert late.not_after == NOW + days(3652)


def test_a_run_that_was_cut_short_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    ca = InternalCa(tmp_path / "ca")
    ca.root_pem(now=NOW)
    (tmp_path / "ca/root.pem").unlink()
    (tmp_path / "ca/.example.com.pem.new").write_bytes(b"half")
    files = ca.certificate_for(NAMES, now=NOW)
    assert files.root_pem == (tmp_path / "ca/root.pem").read_bytes()


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden"])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        InternalCa(tmp_path / "ca").certificate_for([name], now=NOW)


def test_runs_that_start_at_once_get_one_certificate(tmp_path: Path) -> None:
    # Each opens the lock anew, so that threads keep each other out as processes do.
    together = threading.Barrier(4)

    def ask(_: int) -> bytes:
        together.wait(timeout=PATIENCE_S)
        return InternalCa(tmp_path / "ca").certificate_for(NAMES, now=NOW).fullchain_pem

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1


def test_a_store_in_use_is_waited_for_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = InternalCa(tmp_path / "ca")
    monkeypatch.setattr(private_folder, "LOCK_TIMEOUT_S", 0.05)
    holder = store.CaStore(tmp_path / "ca")
    with holder.locked(), pytest.raises(UsageError, match="in use by another process"):
        ca.root_pem(now=NOW)
    assert ca.root_pem(now=NOW)


def test_a_path_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("")
    (tmp_path / "ca").chmod(0o600)
    with pytest.raises(UsageError, match="cannot use the internal CA"):
        InternalCa(tmp_path / "ca").root_pem(now=NOW)


def test_an_ephemeral_certificate_is_kept_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = ephemeral(NAMES, now=NOW)
    assert files.names == NAMES
    assert files.root_pem != ephemeral(NAMES, now=NOW).root_pem
    assert list(tmp_path.iterdir()) == []
