"""Sealed plans on real hosts: exactly what was planned, or nothing at all."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from deployer.commit.outcome import HostReport
from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from deployer.run.options import SessionOptions
from deployer.run.sealed.file import read_sealed
from deployer.run.session import Session
from tests.support.interrupted_runs import SLOW, cut_off
from tests.support.lab_factory import LabFactory
from tests.support.runs import Ran, deployer, differences, state_of, write_playbook

pytestmark = pytest.mark.lab

SECRET = "correct-horse-battery"

FILES = """
- hosts: all
  become: true
  vars_files: [{file: secrets.yml, secret: true}]
  tasks:
    - name: Page that says hello
      copy: {dest: /srv/hello, content: "hello\\n", mode: "0644"}
    - name: Token of the service
      copy: {dest: /srv/token, content: "token={{ token }}\\n", mode: "0600"}
    - name: Names the token in clear
      copy: {dest: /srv/note, content: "see {{ token }}\\n", mode: "0600"}
    - name: Regular jobs
      service: {name: cron.service, enabled: true, state: started}
"""


@pytest.fixture
def project(lab: Lab, workdir: Path) -> Path:
    """A small playbook with a secret, for the host of `lab`."""
    (workdir / "secrets.yml").write_text(f"token: {SECRET}\n")
    write_playbook(workdir, FILES, lab)
    return workdir


def planned(*options: str) -> Ran:
    """``deployer plan site.yml --out p.plan``, which must succeed."""
    ran = deployer("plan", "site.yml", "--out", "p.plan", *options)
    assert ran.code == 0, ran
    return ran


def nothing_there(host: LabHost) -> bool:
    """Whether no run has begun to change anything on `host`; a look leaves its cache alone."""
    return host.sh("ls /srv; ls /var/lib/deployer | grep -vx cache || true").strip() == ""


def test_a_whole_site_from_the_file_alone(lab: Lab, workdir: Path) -> None:
    assert deployer("init", "goaccess").code == 0
    lab.write_inventory(workdir / "inventory.yml")
    (host,) = lab.hosts
    bare = state_of(host)
    ran = planned()
    assert "Sealed the plan for 1 host into p.plan, which holds secrets." in ran.out
    assert "Apply it with: deployer apply p.plan" in ran.out
    assert not differences(bare, state_of(host))
    playbook = (workdir / "site.yml").read_text()
    (workdir / "site.yml").unlink()
    (workdir / "inventory.yml").rename(workdir / "other.yml")

    applied = deployer("apply", "p.plan", "--yes")
    assert applied.code == 0, applied
    assert "planned " in applied.out
    assert "✓ stats.example.com/ws  handshake (proxy)" in applied.out
    assert "confirmed as generation 1" in applied.out
    assert "PRIVATE KEY" not in applied.out + applied.err

    again = deployer("apply", "p.plan", "--yes")
    assert again.code == 3, again
    assert "the host has changed since the plan was made" in again.out
    assert "package nginx: was created (version " in again.out
    assert "generation 2" not in again.out
    assert host.sh("ls /var/lib/deployer/generations").split() == ["1"]

    (workdir / "site.yml").write_text(
        playbook.replace("127.0.0.1:{{ report_port }}", "127.0.0.1:9")
    )
    confirmed = state_of(host)
    planned("-i", "other.yml")
    (workdir / "site.yml").unlink()
    failed = deployer("apply", "p.plan", "--yes")
    assert failed.code == 3, failed
    assert "[service-down]" in failed.out
    assert not differences(confirmed, state_of(host))


def test_secrets_are_in_the_file_and_nowhere_else(project: Path, lab: Lab) -> None:
    (host,) = lab.hosts
    ran = planned("--json", "-v")
    sealed = project / "p.plan"
    assert stat.S_IMODE(sealed.stat().st_mode) == 0o600
    assert SECRET in sealed.read_text()
    assert SECRET not in ran.out + ran.err
    assert ran.document["sealed_plan"] == {"file": "p.plan", "written": True, "missing": []}

    (project / "secrets.yml").unlink()
    sealed.chmod(0o644)
    shown = deployer("apply", "p.plan", "--dry-run", "-v")
    assert shown.code == 0, shown
    assert "warning: other users can read p.plan" in shown.err
    assert "+ file /srv/hello" in shown.out
    assert "+ file /srv/token  (secret, 28 bytes" in shown.out
    assert "No host has changed since the plan was made." in shown.out
    assert nothing_there(host)
    sealed.chmod(0o600)

    applied = deployer("apply", "p.plan", "--yes", "--json", "-v")
    assert applied.code == 0, applied
    about = applied.document["sealed_plan"]
    assert (about["file"], about["playbook"]) == ("p.plan", str(project / "site.yml"))
    assert host.sh("cat /srv/token /srv/note") == f"token={SECRET}\nsee {SECRET}\n"

    host.sh("sed -i s/correct/wrong/ /srv/token /srv/note")
    again = deployer("apply", "p.plan", "--yes", "--json", "-v")
    assert again.code == 3, again
    assert "file /srv/token: was created" in again.err
    for each in (shown, applied, again):
        assert SECRET not in each.out + each.err
        assert "horse" not in each.out + each.err


def test_the_plan_is_applied_even_if_the_playbook_has_changed(
    project: Path, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (host,) = lab.hosts
    ran = deployer("plan", "site.yml", "--out", "p.plan", "--detailed-exitcode")
    assert ran.code == 2, ran
    (project / "site.yml").write_text(FILES.replace("hello\\n", "another\\n"))
    (project / "inventory.yml").write_text("all: {hosts: {elsewhere: {ansible_host: 192.0.2.1}}}\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    applied = deployer("apply", project / "p.plan", "--yes", "--no-diff")
    assert applied.code == 0, applied
    assert host.sh("cat /srv/hello") == "hello\n"


def test_what_has_changed_is_named_with_how(project: Path, lab: Lab) -> None:
    (host,) = lab.hosts
    assert deployer("apply", "site.yml", "--yes").code == 0
    write_playbook(project, FILES.replace("hello\\n", "more\\n"), lab)
    planned()
    host.sh("systemctl stop cron; chmod 0600 /srv/hello; echo drifted >>/srv/token")
    before = state_of(host)

    refused = deployer("apply", "p.plan", "--yes")
    assert refused.code == 3, refused
    assert "the host has changed since the plan was made" in refused.out
    assert "file /srv/hello: was mode 0644, is mode 0600\n" in refused.out
    assert "file /srv/token: content differs, was 28 bytes, is 36 bytes\n" in refused.out
    assert "service cron.service: was active, is not active\n" in refused.out
    assert "/srv/note" not in refused.out
    assert "Nothing was changed" in refused.out
    assert "drifted" not in refused.out
    checked = deployer("apply", "p.plan", "--dry-run")
    assert checked.code == 3, checked
    assert "service cron.service: was active, is not active\n" in checked.out
    assert not differences(before, state_of(host))

    host.sh("systemctl start cron; chmod 0644 /srv/hello; sed -i '$d' /srv/token")
    applied = deployer("apply", "p.plan", "--yes")
    assert applied.code == 0, applied
    assert host.sh("cat /srv/hello") == "more\n"


def test_drift_on_one_host_leaves_both_alone(labs: LabFactory, workdir: Path) -> None:
    lab = labs(2)
    first, second = lab.hosts
    (workdir / "secrets.yml").write_text(f"token: {SECRET}\n")
    serial = FILES.replace("become: true", "become: true\n  serial: 1\n  max_fail_percentage: 100")
    write_playbook(workdir, serial, lab)
    planned()
    second.sh("echo mine >/srv/hello")

    refused = deployer("apply", "p.plan", "--yes", "--json")
    assert refused.code == 3, refused
    hosts = refused.document["hosts"]
    assert hosts[first.name]["state"] == "not-started"
    assert f"because of {second.name}" in hosts[first.name]["message"]
    assert hosts[second.name]["state"] == "failed"
    assert "file /srv/hello: was created" in hosts[second.name]["message"]
    assert nothing_there(first)
    second.sh("rm /srv/hello")
    assert nothing_there(second)
    applied = deployer("apply", "p.plan", "--yes")
    assert applied.code == 0, applied
    assert "2 confirmed" in applied.out

    (workdir / "inventory.yml").write_text(
        (workdir / "inventory.yml").read_text().replace(second.address, "127.0.0.254")
    )
    planless = deployer("plan", "site.yml", "--out", "q.plan", "--timeout", "2")
    assert planless.code == 5, planless
    assert f"Nothing was written to q.plan: {second.name} could not be planned." in planless.out
    assert not (workdir / "q.plan").exists()


def test_an_altered_file_touches_no_host(project: Path, lab: Lab) -> None:
    (host,) = lab.hosts
    planned()
    sealed = project / "p.plan"
    text = sealed.read_bytes()
    sealed.write_bytes(text.replace(b'"mode": "0644"', b'"mode": "0666"'))
    altered = deployer("apply", "p.plan", "--yes")
    assert altered.code == 1, altered
    assert "p.plan was altered after it was sealed; no host was touched" in altered.err
    sealed.write_bytes(text)
    (project / ".deployer" / "seal" / "key").unlink()
    keyless = deployer("apply", "p.plan", "--yes")
    assert keyless.code == 1, keyless
    assert "its key is gone" in keyless.err
    assert nothing_there(host)


def test_a_host_that_needs_nothing_is_checked_all_the_same(project: Path, lab: Lab) -> None:
    (host,) = lab.hosts
    assert deployer("apply", "site.yml", "--yes").code == 0
    planned()
    unchanged = deployer("apply", "p.plan", "--yes", "--json")
    assert unchanged.code == 0, unchanged
    assert unchanged.document["hosts"][host.name]["state"] == "unchanged"
    host.sh("rm /srv/hello")
    stale = deployer("apply", "p.plan", "--yes")
    assert stale.code == 3, stale
    assert "file /srv/hello: was removed" in stale.out


def test_a_change_while_the_plan_is_reviewed_is_reported(project: Path, lab: Lab) -> None:
    """The agent checks again: only it can check and change without a gap."""
    (host,) = lab.hosts
    planned()
    path = Path("p.plan")
    sealed = read_sealed(path)

    def changing(reports: Sequence[HostReport]) -> bool:
        host.sh("echo mine >/srv/hello")
        return True

    with Session("apply", path, SessionOptions(), sealed=sealed) as session:
        run = session.fleet.apply_sealed(sealed, changing)
    (report,) = run.hosts
    assert (report.state, run.exit_code) == ("failed", 3)
    assert "the host has changed since the plan was made" in report.message
    assert "file /srv/hello: was created (type file, " in report.message
    assert host.sh("cat /srv/hello; ls /srv") == "mine\nhello\n"


def test_an_unconfirmed_commit_is_left_to_recover(lab: Lab, workdir: Path) -> None:
    (host,) = lab.hosts
    write_playbook(workdir, SLOW, lab)
    planned()
    cut_off(host)

    refused = deployer("apply", "p.plan", "--yes")
    assert refused.code == 4, refused
    assert f"deployer recover {workdir / 'site.yml'}" in refused.out
    assert host.sh("cat /etc/first") == "x"
    assert deployer("recover", "site.yml").code == 0
    assert deployer("apply", "p.plan", "--dry-run").code == 0
