"""Two project folders, one host: the plan reports a certificate that it takes from the other CA."""

from __future__ import annotations

from pathlib import Path

from deployer.certificates.internal_ca.authority import InternalCa
from deployer.certificates.replaced import replaced_certificates
from deployer.plan.model import Change, Plan

PATH = "/etc/ssl/deployer/stats.example.com/fullchain.pem"


def plan(before: bytes | None, after: bytes, path: str = PATH) -> Plan:
    action = "create" if before is None else "update"
    attributes = {"type": "file"}
    change = Change(
        resource_id=f"file:{path}",
        action=action,  # type: ignore[arg-type]
        before=None if before is None else attributes,
        after=attributes,
        fingerprint="",
        before_content=before,
        after_content=after,
    )
    return Plan(host="web1", created_at="", changes=(change,), handlers=())


def chain(folder: Path, name: str = "stats.example.com") -> bytes:
    return InternalCa(folder).certificate_for((name,)).fullchain_pem


def test_a_certificate_of_another_folder(tmp_path: Path) -> None:
    (note,) = replaced_certificates(plan(chain(tmp_path / "one"), chain(tmp_path / "two")))
    assert "the certificate of stats.example.com from 'deployer internal CA " in note
    assert "a different project folder made it" in note
    assert "copy .deployer/ca" in note


def test_a_renewal_by_the_same_ca_is_no_news(tmp_path: Path) -> None:
    again = chain(tmp_path / "one", "other.example.com")
    assert list(replaced_certificates(plan(chain(tmp_path / "one"), again))) == []


def test_new_and_foreign_files_are_no_news(tmp_path: Path) -> None:
    new = chain(tmp_path / "one")
    assert list(replaced_certificates(plan(None, new))) == []
    assert list(replaced_certificates(plan(b"not a certificate", new))) == []
    assert (
        list(replaced_certificates(plan(chain(tmp_path / "two"), new, "/srv/fullchain.pem"))) == []
    )
