"""Several hosts in one run: batches, limits, and one that is down among others."""

from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab, running
from tests.support.runs import Ran, deployer, differences, state_of, write_playbook
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A lab of three hosts, web1 to web3."""
    with running(3, name=tmp_path_factory.mktemp("many").parent.name + "-many") as lab:
        yield lab


def states(ran: Ran) -> dict[str, str]:
    return {name: report["state"] for name, report in ran.document["hosts"].items()}


def play(name: str, *, fails_on: str = "", head: str = "") -> str:
    """A play that writes a file, and then fails on the named hosts."""
    return (
        f"- hosts: all\n  {head}\n  tasks:\n"
        f"    - copy: {{dest: /etc/{name}, content: x}}\n"
        f"    - command: {{argv: ['false'], creates: /etc/never}}\n"
        f"      when: inventory_hostname in '{fails_on}'.split()\n"
    )


def apply(folder: Path, lab: Lab, text: str, *options: str) -> Ran:
    write_playbook(folder, text, lab)
    return deployer("apply", "site.yml", "--yes", "--json", *options)


def has(host: LabHost, name: str) -> bool:
    return host.exec(["test", "-e", f"/etc/{name}"], check=False).returncode == 0


def test_a_failing_first_batch_stops_the_run(three: Lab, workdir: Path) -> None:
    before = [state_of(host) for host in three.hosts]
    ran = apply(workdir, three, play("serial", head="serial: 1", fails_on="web1"))
    assert ran.code == ran.document["exit_code"] == 3, ran
    assert states(ran) == {"web1": "reverted", "web2": "not-started", "web3": "not-started"}
    for host, state in zip(three.hosts, before, strict=True):
        assert differences(state, state_of(host)) == {}


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("serial: 2\n  max_fail_percentage: 50", ["reverted", "confirmed", "confirmed"]),
        ("serial: 2\n  max_fail_percentage: 49", ["reverted", "confirmed", "not-started"]),
        ("serial: [1, 100%]\n  max_fail_percentage: 100", ["reverted", "confirmed", "confirmed"]),
        ("serial: 30%", ["reverted", "not-started", "not-started"]),
    ],
)
def test_how_many_may_fail(head: str, expected: list[str], three: Lab, workdir: Path) -> None:
    name = f"batch{zlib.crc32(head.encode())}"
    ran = apply(workdir, three, play(name, head=head, fails_on="web1"))
    assert ran.code == 3, ran
    assert list(states(ran).values()) == expected
    assert [has(host, name) for host in three.hosts] == [s == "confirmed" for s in expected]


def test_two_plays_are_one_commit(three: Lab, workdir: Path) -> None:
    """A failure of the second reverts the first too."""
    two = play("one", fails_on="") + play("two", fails_on="web2")
    ran = apply(workdir, three, two, "--forks", "1")
    assert ran.code == 3, ran
    assert states(ran) == {"web1": "confirmed", "web2": "reverted", "web3": "confirmed"}
    assert [has(host, "one") for host in three.hosts] == [True, False, True]
    history = deployer("history", "site.yml", "--json", "--limit", "web1").document
    newest = history["hosts"]["web1"]["history"][0]
    assert [change["resource_id"] for change in newest["changes"]] == [
        "file:/etc/one",
        "file:/etc/two",
    ]


def test_limit(three: Lab, workdir: Path) -> None:
    ran = apply(workdir, three, play("limited"), "--limit", "web1:web2:!web1")
    assert ran.code == 0, ran
    assert states(ran) == {"web2": "confirmed"}
    assert [has(host, "limited") for host in three.hosts] == [False, True, False]


def test_hosts_are_changed_at_the_same_time(three: Lab, workdir: Path) -> None:
    """Each of two waits for the other, which only two at a time can."""
    meet = (
        "- hosts: web1:web2\n  tasks:\n    - command:\n        argv: [sh, -c, "
        "'touch /run/here; timeout 600 sh -c \"until test -e /run/there; do sleep 0.1; done\"']\n"
        "        creates: /run/here\n    - copy: {dest: /etc/met, content: x}\n"
    )
    write_playbook(workdir, meet, three)
    process = subprocess.Popen(
        [sys.executable, "-m", "deployer", "apply", "site.yml", "--yes", "--forks", "2"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    first, second, _ = three.hosts
    until(lambda: all(host.sh("ls /run/here", check=False) for host in (first, second)))
    for host in (first, second):
        host.sh("touch /run/there")
    assert process.wait(timeout=PATIENCE_S) == 0
    assert has(first, "met")
    assert has(second, "met")


def test_a_host_that_is_down_does_not_hold_up_the_others(three: Lab, workdir: Path) -> None:
    first, _, third = three.hosts
    first.kill()
    third.sh("systemctl kill --signal=STOP --kill-whom=main ssh")
    try:
        ran = apply(workdir, three, play("others"), "--timeout", "3")
    finally:
        third.sh("systemctl kill --signal=CONT --kill-whom=main ssh")
        first.boot_again()
    assert ran.code == ran.document["exit_code"] == 5, ran
    assert states(ran) == {"web1": "unreachable", "web2": "confirmed", "web3": "unreachable"}
    assert ran.document["seconds"] < 10
    assert [has(host, "others") for host in three.hosts] == [False, True, False]
    assert "1 confirmed, 2 unreachable" in ran.err or "2 unreachable, 1 confirmed" in ran.err
