"""What ACME has issued to the controller, when it counts, and how certbot is asked for more."""

from __future__ import annotations

import datetime
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from deployer.agent.certificates.certbot.command import eab_lines, rehearsal_of
from deployer.certificates.acme.answers import Answers
from deployer.certificates.acme.command import (
    CERTBOT,
    certbot_argv,
    environment_for,
    require_version,
)
from deployer.certificates.acme.store import (
    CertificateStore,
    IssuedCertificate,
    lineage_of,
    read_pair,
)
from deployer.errors import UsageError
from tests.support.certificates.pki import Issued, issued
from tests.support.waiting import PATIENCE_S

DAY_S = 86400.0
REAL = "https://acme-v02.api.letsencrypt.org/directory"
STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"


def settings(**others: Any) -> dict[str, Any]:
    return {
        "domain": "www.example.com",
        "names": ["www.example.com"],
        "directory": REAL,
        "key_type": "ecdsa-p256",
        "profile": None,
        "challenge": "http-01",
        "email": None,
        "eab": None,
        "dns": None,
        "ca_bundle": None,
        **others,
    }


def key_of(pair: Issued) -> bytes:
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return pair.key.private_bytes(serialization.Encoding.PEM, pkcs8, plain)


def certbot_got(folder: Path, pair: Issued, about: dict[str, Any]) -> CertificateStore:
    live = folder / "config" / "live" / lineage_of(about)
    live.mkdir(parents=True)
    folder.chmod(0o700)
    (live / "fullchain.pem").write_bytes(pair.pem)
    (live / "privkey.pem").write_bytes(key_of(pair))
    return CertificateStore(folder)


def of_lifetime(days: float) -> IssuedCertificate:
    start = issued("start", by=None).certificate.not_valid_before_utc
    pair = issued("www.example.com", by=None, ends=start + datetime.timedelta(days=days))
    return read_pair(pair.pem, key_of(pair), settings())


@pytest.mark.parametrize(
    ("days", "left"), [(90, 30), (45, 15), (10.1, 10.1 / 3), (9.9, 4.95), (6, 3), (0.01, 0.005)]
)
def test_a_third_is_left_when_it_is_due_and_half_of_a_short_one(days: float, left: float) -> None:
    pair = of_lifetime(days)
    due = pair.leaf.not_after - left * DAY_S
    assert pair.due_at == pytest.approx(due, abs=1)
    assert pair.fits(settings(), due - 5)
    assert not pair.fits(settings(), due + 5)
    # A clock that is behind does not make it fit.
    assert not pair.fits(settings(), pair.leaf.not_before - 1.0)


@pytest.mark.parametrize(
    "others",
    [
        {"directory": STAGING},
        {"names": ["www.example.com", "example.com"]},
        {"names": ["example.com"]},
        {"key_type": "rsa-2048"},
        {"key_type": "ecdsa-p384"},
        {"profile": "shortlived"},
    ],
)
def test_what_was_asked_for_otherwise_never_counts(tmp_path: Path, others: dict[str, Any]) -> None:
    store = certbot_got(tmp_path / "c", issued("www.example.com", by=None), settings())
    kept = store.keep(settings())
    assert store.newest(settings()) == kept
    assert lineage_of(settings(**others)) != lineage_of(settings())
    assert store.newest(settings(**others)) is None
    assert not kept.fits(settings(**others), kept.leaf.not_before)


def test_the_order_and_case_of_names_do_not_matter() -> None:
    some = settings(names=["www.example.com", "Example.com"])
    assert lineage_of(some) == lineage_of(settings(names=["example.com", "WWW.example.com"]))


def test_a_lineage_is_a_file_name() -> None:
    assert "/" not in lineage_of(settings())
    assert lineage_of(settings(domain="*.example.com")).startswith("wildcard.example.com-")
    assert ":" not in lineage_of(settings(domain="2001:db8::1"))


def test_a_staging_certificate_in_the_files_of_a_real_one_is_not_used(tmp_path: Path) -> None:
    """Its names and its key would fit: what it was ordered for is in the name of its files."""
    store = certbot_got(
        tmp_path / "c", issued("www.example.com", by=None), settings(directory=STAGING)
    )
    assert store.keep(settings(directory=STAGING)).directory == STAGING
    assert store.newest(settings()) is None


def test_a_key_of_another_certificate_is_refused() -> None:
    one, other = issued("www.example.com", by=None), issued("www.example.com", by=None)
    with pytest.raises(ValueError, match="does not match the certificate"):
        read_pair(one.pem, key_of(other), settings())
    with pytest.raises(ValueError, match="chain cannot be read"):
        read_pair(b"", key_of(one), settings())
    with pytest.raises(ValueError, match="key cannot be read"):
        read_pair(one.pem, b"no key", settings())


def test_the_newest_counts_and_the_state_of_another_does_not(tmp_path: Path) -> None:
    store = certbot_got(tmp_path / "c", issued("www.example.com", by=None), settings())
    first = store.keep(settings())
    store.note(settings(), ari={"serial": "00", "start": 0.0, "end": 1.0})
    assert store.newest(settings()) == first
    assert first.due_at == pytest.approx(first.leaf.not_after - 40 * DAY_S, abs=1)

    start = float(first.leaf.not_before)
    end = start + DAY_S
    store.note(settings(), ari={"serial": first.serial, "start": start, "end": end})
    found = store.newest(settings())
    assert found is not None
    assert start <= found.due_at <= end
    assert found.due_at == store.newest(settings()).due_at  # type: ignore[union-attr]
    assert store.fitting(settings(), end + 1) is None


def test_a_folder_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    store = certbot_got(tmp_path / "c", issued("www.example.com", by=None), settings())
    (tmp_path / "c").chmod(0o755)
    with pytest.raises(UsageError, match="chmod 700"):
        store.newest(settings())


def test_nothing_is_made_where_nothing_is_kept(tmp_path: Path) -> None:
    assert CertificateStore(tmp_path / "c").fitting(settings(), 0.0) is None
    assert not (tmp_path / "c").exists()


def test_no_secret_is_on_the_command_line(tmp_path: Path) -> None:
    eab = {"kid": "kid-1", "hmac_key": "c2VjcmV0"}
    bound = settings(eab=eab, email="ops@example.com")
    argv = certbot_argv(bound, folder=tmp_path, config=tmp_path / "ini")
    assert "c2VjcmV0" not in " ".join(argv)
    assert "c2VjcmV0" not in str(environment_for(bound, private=tmp_path))
    assert "c2VjcmV0" in eab_lines(bound)
    assert tuple(argv[: len(CERTBOT)]) == CERTBOT
    assert argv[-2:] == ["--domain", "www.example.com"]


def test_addresses_are_asked_for_as_addresses(tmp_path: Path) -> None:
    names = ["192.0.2.7", "2001:db8::7"]
    asked = settings(domain=names[0], names=names, profile="shortlived")
    argv = certbot_argv(asked, folder=tmp_path, config=tmp_path / "ini")
    assert argv[-4:] == ["--ip-address", names[0], "--ip-address", names[1]]
    assert argv[argv.index("--required-profile") + 1] == "shortlived"


@pytest.mark.parametrize(
    ("profile", "offered", "kept"),
    [
        ("shortlived", ["classic", "shortlived"], "shortlived"),
        ("shortlived", [], None),
        (None, ["classic"], None),
    ],
)
def test_a_rehearsal_has_the_profile_where_it_is_offered(
    profile: str | None, offered: list[str], kept: str | None
) -> None:
    """An address would be refused without it, by the test system as by the real one."""
    asked = settings(domain="192.0.2.7", names=["192.0.2.7"], profile=profile)
    trial = rehearsal_of(asked, "https://staging.example.com/dir", offered=offered)
    assert trial["profile"] == kept
    assert trial["directory"] == "https://staging.example.com/dir"
    assert trial["names"] == asked["names"]


def test_a_certbot_that_is_too_old_is_reported_with_the_fix() -> None:
    require_version((4, 1), "anything")
    with pytest.raises(
        UsageError, match=r"cannot order the moon.*\n.*pip install 'certbot>=99\.0'"
    ):
        require_version((99, 0), "the moon")


def test_a_hook_without_a_listener_reports_it(tmp_path: Path) -> None:
    words = shlex.split(Answers.hook_command("forget"))
    assert words[0] == sys.executable
    environment = {
        **os.environ,
        "DEPLOYER_ACME_SOCKET": str(tmp_path / "s"),
        "DEPLOYER_ACME_WORD": "word",
        "DEPLOYER_ACME_LIMIT_S": "5",
        "CERTBOT_IDENTIFIER": "www.example.com",
        "CERTBOT_TOKEN": "token",
    }
    done = subprocess.run(
        words, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert "Traceback" not in done.stderr
