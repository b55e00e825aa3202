"""Renewals are scheduled by a real systemd and a real cron, on a host that is the controller."""

from __future__ import annotations

import datetime
import json
import time
from pathlib import Path

import pytest

import deployer
from deployer.lab.host import LabHost
from tests.support.lab_factory import LabFactory
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.lab

#: Replaces the command: it writes down how it was called, and by whom.
SPY = """#!/usr/bin/python3 -I
import json, os, sys
recorded = {"argv": sys.argv[1:], "home": os.environ.get("HOME", "")}
with open(os.path.expanduser("~/recorded.json.new"), "w") as file:
    json.dump(recorded, file)
os.rename(file.name, os.path.expanduser("~/recorded.json"))
"""
COMMAND = '/opt/a $HOME "spy"; it\'s'
PLAYBOOK = "/srv/%h $(touch no) \\n 'play'/site.yml"
FOR_CRON = "/srv/$(touch no) 'play' `x`; #/site.yml"

PROGRAM = """
import json, sys
from pathlib import Path
from deployer.certificates.acme import schedule
from deployer.certificates.acme.job import Job

what, playbook, command = sys.argv[1:]
inventories = (Path("/srv/hosts one.yml"),)
job = Job(playbook=Path(playbook), inventories=inventories, command=(command,))
try:
    if what == "install":
        done = schedule.install(job)
        found = {"by": done.by, "where": done.where, "note": done.note}
    else:
        found = {"removed": schedule.remove(job)}
    at = schedule.next_run(job)
    print(json.dumps({**found, "name": job.name, "at": at and at.timestamp()}))
except schedule.UsageError as error:
    print(json.dumps({"error": str(error)}))
"""


@pytest.fixture(scope="module")
def package() -> dict[str, str]:
    """The modules of deployer that scheduling needs, and nothing but the standard library."""
    top = Path(deployer.__file__).parent
    names = ["__init__.py", "errors.py", "private_folder.py", "certificates/__init__.py"]
    modules = ("__init__", "job", "schedule", "units", "crontab")
    names += [f"certificates/acme/{module}.py" for module in modules]
    return {f"/usr/lib/python3/dist-packages/deployer/{n}": (top / n).read_text() for n in names}


@pytest.fixture
def controller(labs: LabFactory, package: dict[str, str]) -> LabHost:
    host = labs(1).hosts[0]
    for path, text in {**package, COMMAND: SPY}.items():
        host.exec(["mkdir", "-p", str(Path(path).parent)])
        host.exec(["tee", path], stdin=text)
    host.exec(["chmod", "755", COMMAND])
    return host


def ask(
    host: LabHost, what: str, *, playbook: str = PLAYBOOK, user: str = "root"
) -> dict[str, object]:
    argv = ["python3", "-c", PROGRAM, what, playbook, COMMAND]
    if user != "root":
        argv = ["runuser", "-u", user, "--", *argv]
    found: dict[str, object] = json.loads(host.exec(argv).stdout)
    return found


def recorded(host: LabHost, home: str) -> dict[str, object]:
    """What the command has written down, when it has run."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        done = host.exec(["cat", f"{home}/recorded.json"], check=False)
        if done.returncode == 0:
            found: dict[str, object] = json.loads(done.stdout)
            return found
        assert time.monotonic() < deadline, host.exec(["journalctl", "-n", "40"]).stdout
        time.sleep(0.1)


def expected(playbook: str, home: str) -> dict[str, object]:
    return {"argv": ["certs", "renew", playbook, "-i", "/srv/hosts one.yml"], "home": home}


def within_half_a_day(host: LabHost, at: object) -> bool:
    now = float(host.exec(["date", "+%s"]).stdout)
    return isinstance(at, float) and now < at <= now + (12 * 60 + 16) * 60


def test_units_of_the_system_for_root(controller: LabHost) -> None:
    done = ask(controller, "install")
    again = ask(controller, "install")
    assert again.get("by") == "systemd", done
    timer = f"{again['name']}.timer"
    assert again["where"] == [
        f"/etc/systemd/system/{again['name']}.service",
        f"/etc/systemd/system/{timer}",
    ]
    assert within_half_a_day(controller, again["at"])
    listed = controller.exec(["systemctl", "list-timers", "--all", "--no-legend"]).stdout
    assert [line.split()[-2:] for line in listed.splitlines() if "deployer-" in line] == [
        [timer, f"{again['name']}.service"]
    ]
    assert controller.exec(["systemctl", "is-enabled", timer]).stdout.strip() == "enabled"
    units = [str(path) for path in again["where"]]
    assert controller.exec(["systemd-analyze", "verify", *units]).stderr == ""

    controller.exec(["systemctl", "start", f"{again['name']}.service"])
    assert recorded(controller, "/root") == expected(PLAYBOOK, "/root")
    assert controller.exec(["find", "/", "-xdev", "-name", "no"]).stdout == ""

    removed = ask(controller, "remove")
    assert (removed["removed"], removed["at"]) == (True, None)
    assert ask(controller, "remove")["removed"] is False
    left = controller.exec(["find", "/etc", "/var/lib/systemd", "-name", "*deployer-certs*"])
    assert left.stdout == ""


def test_user_units_if_the_systemd_of_the_user_runs(controller: LabHost) -> None:
    controller.exec(["useradd", "--create-home", "alice"])
    controller.exec(["loginctl", "enable-linger", "alice"])
    uid = controller.exec(["id", "-u", "alice"]).stdout.strip()
    controller.exec(["systemctl", "start", f"user@{uid}.service"])
    done = ask(controller, "install", user="alice")
    assert done.get("by") == "systemd --user", done
    assert done["note"] == ""
    assert within_half_a_day(controller, done["at"])
    as_alice = ["runuser", "-u", "alice", "--", "env", f"XDG_RUNTIME_DIR=/run/user/{uid}"]
    controller.exec([*as_alice, "systemctl", "--user", "start", f"{done['name']}.service"])
    assert recorded(controller, "/home/alice") == expected(PLAYBOOK, "/home/alice")
    assert ask(controller, "remove", user="alice")["removed"] is True
    assert controller.exec(["find", "/home/alice", "-name", "*deployer-certs*"]).stdout == ""


def test_a_line_of_cron_for_a_user_without_systemd(controller: LabHost) -> None:
    controller.exec(["useradd", "--create-home", "bob"])
    controller.exec(["crontab", "-u", "bob", "-"], stdin="# bob's own\n@yearly true\n")
    refused = ask(controller, "install", user="bob")
    assert "nothing was scheduled" in str(refused["error"])  # by the percent sign

    ask(controller, "install", user="bob", playbook=FOR_CRON)
    done = ask(controller, "install", user="bob", playbook=FOR_CRON)
    assert (done["by"], done["note"]) == ("cron", "")
    assert within_half_a_day(controller, done["at"])
    text = controller.exec(["crontab", "-u", "bob", "-l"]).stdout
    assert text.startswith("# bob's own\n@yearly true\n")
    assert len(text.splitlines()) == 3

    # cron itself reads the line, at a time that is now: the start of the host, as far as it knows.
    command = text.splitlines()[2].split(" * * * ", 1)[1]
    controller.exec(["crontab", "-u", "bob", "-"], stdin=f"@reboot {command}\n")
    controller.exec(["rm", "-f", "/run/crond.reboot"])
    controller.exec(["systemctl", "restart", "cron.service"])
    assert recorded(controller, "/home/bob") == expected(FOR_CRON, "/home/bob")
    controller.exec(["crontab", "-u", "bob", "-"], stdin=text)

    assert ask(controller, "remove", user="bob", playbook=FOR_CRON)["removed"] is True
    left = controller.exec(["crontab", "-u", "bob", "-l"]).stdout
    assert left == "# bob's own\n@yearly true\n"


def test_times_are_in_utc_wherever_the_controller_is(controller: LabHost) -> None:
    controller.exec(["timedatectl", "set-timezone", "Asia/Kathmandu"])
    done = ask(controller, "install")
    assert "error" not in done, done
    assert within_half_a_day(controller, done["at"])
    shown = controller.exec(["systemctl", "cat", f"{done['name']}.timer"]).stdout
    hours = next(line for line in shown.splitlines() if line.startswith("OnCalendar="))
    hour, minute = map(
        int, hours.split(" ")[1].split(",")[0].split(":")[0:1] + hours.split(":")[1:2]
    )
    at = datetime.datetime.fromtimestamp(float(str(done["at"])), datetime.UTC)
    local = at + datetime.timedelta(hours=5, minutes=45)
    assert 0 <= ((local.hour % 12 - hour) * 60 + local.minute - minute) % 720 <= 16
