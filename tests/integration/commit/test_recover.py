"""What an interrupted run leaves on a host, how it is reported, and how it is resolved."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.commit.states import MEANINGS
from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.support.interrupted_runs import (
    SLOW,
    cut_off,
    ended,
    is_over,
    is_settled,
    kill_agent,
    let_go,
    under_way,
)
from tests.support.runs import deployer, differences, state_of, write_playbook
from tests.support.waiting import stretched, until

pytestmark = pytest.mark.lab

HELLO = "- hosts: all\n  tasks:\n    - copy: {dest: /etc/hello, content: hello}\n"


@pytest.fixture(scope="module")
def host(shared_lab: Lab) -> LabHost:
    """A host with one confirmed commit, which all tests of this module leave as it is."""
    return shared_lab.hosts[0]


@pytest.fixture(scope="module")
def before(
    shared_lab: Lab, host: LabHost, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("first")
    write_playbook(folder, HELLO, shared_lab)
    host.sh("systemctl is-system-running --wait", check=False)
    assert deployer("apply", folder / "site.yml", "-y").code == 0
    state = settled_state(host)
    yield state
    assert differences(state, settled_state(host)) == {}


def settled_state(host: LabHost) -> dict[str, Any]:
    """The state without the sessions of running agents."""
    state = state_of(host)
    return {**state, "enabled": [line for line in state["enabled"] if ".scope" not in line]}


@pytest.fixture
def site(shared_lab: Lab, workdir: Path, before: dict[str, Any]) -> Path:
    write_playbook(workdir, SLOW, shared_lab)
    return workdir


# --- a commit that was never ended ---------------------------------------------------------------


@pytest.mark.usefixtures("site")
def test_an_interrupted_run(host: LabHost, before: dict[str, Any]) -> None:
    """Every command reports what it finds and changes nothing; `recover` repairs it."""
    cut_off(host)
    left = settled_state(host)
    assert "/etc/first" in differences(before, left)
    for command in ("apply", "rollback", "reload"):
        ran = deployer(command, "site.yml", "--yes", "--json")
        assert ran.code == ran.document["exit_code"] == 4, ran
        report = ran.document["hosts"]["web1"]
        assert report["state"] == "stranded"
        for words in (
            "started 20",
            "ago",
            f"State: pending: {MEANINGS['pending']}.",
            "or at the next boot",
            "Nothing was changed by this run. To fix it: deployer recover site.yml",
        ):
            assert words in report["message"], ran
        found = report["found"]["under_way"]
        assert (found["state"], found["watched"], found["failed"]) == ("pending", True, [])
        assert found["commit"] in report["message"]
        assert report["found"]["recover"] == "deployer recover site.yml"
    for command, words in (
        ("plan", "To fix"),
        ("verify", "to fix it: deployer recover site.yml"),
        ("history", "to fix it: deployer recover site.yml"),
    ):
        ran = deployer(command, "site.yml")
        assert ran.code == 0, ran
        assert words.lower() in ran.out.lower(), ran
    given_up = deployer("recover", "site.yml", "--abandon", "--yes")
    assert given_up.code == 4, given_up
    assert "only a commit that could not be rolled back can be abandoned" in given_up.out
    assert differences(left, settled_state(host)) == {}

    ran = deployer("recover", "site.yml", "--json")
    assert ran.code == ran.document["exit_code"] == 0, ran
    assert ran.document["hosts"]["web1"]["state"] == "recovered"
    assert "back in its former state" in ran.document["hosts"]["web1"]["message"]
    assert "restored" in ran.err
    assert differences(before, settled_state(host)) == {}

    again = deployer("recover", "site.yml")
    assert again.code == 0, again
    assert "nothing to recover: the last commit" in again.out
    assert "requested with deployer recover" in again.out
    assert "last commit here" not in deployer("plan", "site.yml").out


@pytest.mark.usefixtures("site")
def test_what_the_watchdog_did_meanwhile_is_reported(host: LabHost, before: dict[str, Any]) -> None:
    cut_off(host, "--confirm-timeout", f"{stretched(2.0):.0f}")
    until(lambda: is_over(host))
    until(lambda: differences(before, settled_state(host)) == {})  # the watchdog itself has ended
    ran = deployer("plan", "site.yml", "--json")
    (note,) = ran.document["hosts"]["web1"]["notes"]
    assert "was rolled back by the host: it was not confirmed by its deadline" in note
    shown = deployer("plan", "site.yml").out
    assert shown.count("web1: note: the last commit here, of ") == 1
    assert "it was not confirmed by its deadline" in deployer("recover", "site.yml").out


@pytest.mark.usefixtures("site")
def test_one_such_host_among_several_stops_the_run(labs: Any, workdir: Path) -> None:
    lab = labs(2)
    first, second = lab.hosts
    write_playbook(workdir, HELLO, lab)
    assert deployer("apply", "site.yml", "-y", "--limit", "web1").code == 0
    write_playbook(workdir, SLOW)
    cut_off(first, "--limit", "web1")
    write_playbook(workdir, HELLO)
    ran = deployer("apply", "site.yml", "-y", "--json")
    assert ran.code == 4, ran
    hosts = ran.document["hosts"]
    assert {name: report["state"] for name, report in hosts.items()} == {
        "web1": "stranded",
        "web2": "not-started",
    }
    assert "deployer recover site.yml -l web1" in hosts["web1"]["message"]
    assert second.sh("ls /etc/hello", check=False) == ""
    ran = deployer("recover", "site.yml", "-i", "inventory.yml", "--json")
    assert ran.code == 0, ran
    states = {name: report["state"] for name, report in ran.document["hosts"].items()}
    assert states == {"web1": "recovered", "web2": "unchanged"}
    assert "nothing has been applied here yet" in ran.document["hosts"]["web2"]["message"]


# --- what someone has changed, and what cannot be restored ----------------------------------------

EDITED = """- hosts: all
  vars_files: [{{file: secrets.yml, secret: true}}]
  tasks:
    - copy: {{dest: /etc/hello, content: "hello\\nworld\\n{word}\\n"}}
    - copy: {{dest: /etc/keys, content: "{{{{ token }}}}\\n"}}
    - command:
        argv: [sh, -c, 'touch /run/under-way; until rm /run/go; do sleep 0.1; done; exit 1']
        creates: /etc/never
"""


def test_a_file_that_someone_edited_is_kept_and_shown(lab: Lab, workdir: Path) -> None:
    """In `recover` and in an apply's own revert, in text and in JSON; never what is secret."""
    (host,) = lab.hosts
    write_playbook(workdir, HELLO.replace("hello}", '"hello\\nworld\\n"}'), lab)
    assert deployer("apply", "site.yml", "-y").code == 0
    (workdir / "secrets.yml").write_text("token: open-sesame\n")
    (workdir / "site.yml").write_text(EDITED.format(word="new"))
    edit = "sed -i s/world/there/ /etc/hello; echo open-sesame-2 >> /etc/keys"

    cut_off(host)
    host.sh(edit)
    ran = deployer("recover", "site.yml")
    assert ran.code == 4, ran
    for words in ("kept /etc/hello: ", "-world", "+there", "+new", "kept /etc/keys: "):
        assert words in ran.out, ran
    assert "sesame" not in str(ran)
    assert "not finished" not in deployer("history", "site.yml").out
    noted = deployer("plan", "site.yml").out
    assert "it was changed meanwhile: /etc/hello, /etc/keys" in noted

    host.sh("printf 'hello\\nworld\\n' > /etc/hello; rm /etc/keys")
    with under_way(host) as process:
        host.sh(edit)
        let_go(host)
        ran = ended(process)
    assert ran.code == 4, ran
    kept = ran.document["hosts"]["web1"]["kept"]
    assert [item["path"] for item in kept] == ["/etc/hello", "/etc/keys"]
    assert "-world\n+there\n+new" in kept[0]["diff"]
    assert "diff" not in kept[1]
    assert "sesame" not in str(ran)


@pytest.mark.usefixtures("site")
def test_what_cannot_be_restored_can_be_abandoned(lab: Lab, workdir: Path) -> None:
    (host,) = lab.hosts
    write_playbook(workdir, SLOW, lab)
    cut_off(host)
    host.sh("rm /etc/first && mkdir /etc/first && mount -t tmpfs none /etc/first")
    ran = deployer("recover", "site.yml")
    assert ran.code == 4, ran
    for words in (
        "/etc/first: ",
        "State: revert-failed: the host is partly in its former state",
        "To try again, once the cause is gone: deployer recover site.yml",
        "deployer recover site.yml --abandon",
        "/var/lib/deployer/abandoned/",
    ):
        assert words in ran.out, ran
    refused = deployer("apply", "site.yml", "-y")
    assert refused.code == 4, refused
    assert "could not be rolled back" in refused.out
    assert "/etc/first: " in refused.out

    unasked = deployer("recover", "site.yml", "--abandon")
    assert unasked.code == 1, unasked
    assert "State: revert-failed" in unasked.out
    assert "nothing was changed" in unasked.err
    assert not is_settled(host)

    ran = deployer("recover", "site.yml", "--abandon", "--yes", "--json")
    assert ran.code == 0, ran
    report = ran.document["hosts"]["web1"]
    assert report["state"] == "abandoned"
    (kept,) = host.sh("ls /var/lib/deployer/abandoned").split()
    assert f"/var/lib/deployer/abandoned/{kept}" in report["message"]
    host.sh("umount /etc/first && rmdir /etc/first")
    (workdir / "site.yml").write_text(HELLO)
    after = deployer("apply", "site.yml", "-y")
    assert after.code == 0, after
    assert "was abandoned" in after.out
    assert "abandoned" in deployer("history", "site.yml").out


# --- the run itself finds out ---------------------------------------------------------------------


@pytest.mark.usefixtures("site")
def test_the_agent_is_killed_and_the_controller_reverts(
    host: LabHost, before: dict[str, Any]
) -> None:
    """It does not wait for the watchdog: the commit is rolled back at once."""
    with under_way(host, "--confirm-timeout", "3600") as process:
        kill_agent(host)
        ran = ended(process)
    assert ran.code == ran.document["exit_code"] == 3, ran
    report = ran.document["hosts"]["web1"]
    assert report["state"] == "reverted"
    assert "back in its former state" in report["message"]
    assert differences(before, settled_state(host)) == {}


def hang_up(host: LabHost) -> None:
    """End the connection, and let no new one in; what runs on the host is left alone."""
    host.sh("systemctl stop ssh.socket ssh; kill $(pidof sshd)")


@pytest.mark.usefixtures("site")
def test_a_host_that_is_unreachable_for_a_while(host: LabHost, before: dict[str, Any]) -> None:
    """The command waits for it, and reports how the commit ended; Ctrl-C ends the waiting."""
    with under_way(host) as process:
        hang_up(host)
        until(lambda: is_over(host))
        host.sh("systemctl start ssh")
        ran = ended(process)
    assert ran.code == 3, ran
    assert "back in its former state" in ran.document["hosts"]["web1"]["message"]

    with under_way(host) as process:
        hang_up(host)
        until(lambda: is_over(host))
        process.send_signal(signal.SIGINT)
        ran = ended(process)
    host.sh("systemctl start ssh")
    host.wait_until_ready()
    assert ran.code == ran.document["exit_code"] == 4, ran
    report = ran.document["hosts"]["web1"]
    assert report["state"] == "stranded"
    for words in (
        "did not report the outcome within",
        "Its watchdog, if it has one, rolls the commit back soon after 20",
        "or when the host boots",
        "To see the outcome: deployer history site.yml",
        "if that has not happened: deployer recover site.yml",
    ):
        assert words in report["message"], ran
    assert "the run that created it disconnected" in deployer("plan", "site.yml").out
    assert differences(before, settled_state(host)) == {}


def test_a_controller_that_hangs(
    shared_lab: Lab, workdir: Path, host: LabHost, before: dict[str, Any]
) -> None:
    """The host waits for its message for the given time, and then rolls the commit back."""
    write_playbook(workdir, SLOW.replace("done']", "done; touch /etc/second']")
                   .replace("never", "second"), shared_lab)  # fmt: skip
    with under_way(host, "--confirm-timeout", "1") as process:
        process.send_signal(signal.SIGSTOP)
        let_go(host)
        until(lambda: is_over(host))
        process.send_signal(signal.SIGCONT)
        ran = ended(process)
    assert ran.code == 3, ran
    report = ran.document["hosts"]["web1"]
    assert report["state"] == "reverted"
    assert "not confirmed in time; the host is back in its former state" in report["message"]
    assert differences(before, settled_state(host)) == {}


def test_a_confirmation_that_the_host_cannot_record(
    shared_lab: Lab, workdir: Path, host: LabHost, before: dict[str, Any]
) -> None:
    """An answer that is not understood after the change: the commit is rolled back."""
    generations = "/var/lib/deployer/generations"
    write_playbook(
        workdir,
        "- hosts: all\n  tasks:\n    - command:\n        argv:\n          - sh\n          - -c\n"
        f"          - mount --bind {generations} {generations}; touch /etc/made\n"
        "        creates: /etc/made\n",
        shared_lab,
    )
    ran = deployer("apply", "site.yml", "-y", "--json")
    host.sh(f"umount {generations}")
    assert ran.code == 3, ran
    report = ran.document["hosts"]["web1"]
    assert report["state"] == "reverted"
    assert "the confirmation cannot be recorded" in report["message"]
    assert "back in its former state" in report["message"]
    assert is_settled(host)
    assert differences(before, settled_state(host)) == {}


# --- hosts without systemd, and how many generations stay -----------------------------------------


def test_a_host_without_systemd(lab: Lab, workdir: Path) -> None:
    """Refused before any change, unless --no-watchdog is given; the report says so."""
    (host,) = lab.hosts
    write_playbook(workdir, HELLO, lab)
    host.sh("mv /run/systemd/system /run/systemd/away")
    host.sh("echo sysvinit > /run/init-name && mount --bind /run/init-name /proc/1/comm")
    assert deployer("plan", "site.yml").code == 0
    before = state_of(host)
    planned = deployer("plan", "site.yml")
    assert "systemd does not run on this host: an apply is refused unless --no-watchdog" in (
        planned.out
    )
    ran = deployer("apply", "site.yml", "--yes", "--json")
    assert ran.code == 3, ran
    message = ran.document["hosts"]["web1"]["message"]
    assert "systemd does not run on this host, so nothing could take the changes back" in message
    assert "Nothing was changed. Give --no-watchdog" in message
    assert differences(before, state_of(host)) == {}
    ran = deployer("apply", "site.yml", "--yes", "--no-watchdog")
    assert ran.code == 0, ran
    assert "; the host had no watchdog" in ran.out
    assert "nothing to do" in deployer("apply", "site.yml", "--yes").out


def test_how_many_generations_a_host_keeps(lab: Lab, workdir: Path) -> None:
    for number in range(4):
        write_playbook(workdir, HELLO.replace("hello}", f"'{number}'}}"), lab)
        ran = deployer("apply", "site.yml", "-y", "--keep", "2")
        assert ran.code == 0, ran
    listed = deployer("history", "site.yml", "--json").document["hosts"]["web1"]["history"]
    assert [entry["generation"] for entry in listed] == [4, 3]
    assert deployer("apply", "site.yml", "-y", "--keep", "0").code == 1
