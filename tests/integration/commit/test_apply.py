"""The main task, end to end: a bare host becomes a verified service or is rolled back."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from deployer.lab.lab import Lab
from tests.support.runs import Ran, deployer, differences, goaccess_project, handshake, state_of

pytestmark = pytest.mark.lab

DOMAIN = "stats.example.com"
#: What a run without changes imports: modules of this package, and all modules.
MOST_OWN_MODULES, MOST_MODULES = 195, 620
RIGHT, WRONG = "127.0.0.1:{{ report_port }}", "127.0.0.1:7999"


def first_message(lab: Lab) -> dict[str, object]:
    text = handshake(lab.hosts[0], Path(".deployer/ca/root.pem"), domain=DOMAIN, path="/ws")
    parsed: dict[str, object] = json.loads(text)
    return parsed


def assert_little_is_imported(ran: Ran) -> None:
    """Modules are two thirds of what a run without changes costs: import what it needs, no more."""
    every = re.findall(r"^import time:.*\| +([\w.]+)$", ran.err, re.MULTILINE)
    own = [name for name in every if name.partition(".")[0] == "deployer"]
    assert 100 < len(own) <= MOST_OWN_MODULES, own
    assert len(every) <= MOST_MODULES, every


def break_the_route() -> None:
    """The mistake of a person: the port of something that is not there."""
    playbook = Path("site.yml")
    playbook.write_text(playbook.read_text().replace(RIGHT, WRONG))


def mend_the_route() -> None:
    """The mistake corrected."""
    playbook = Path("site.yml")
    playbook.write_text(playbook.read_text().replace(WRONG, RIGHT))


def not_as_rendered(state: dict[str, Any]) -> dict[str, str]:
    """Files on the host that differ from those rendered by `check`."""
    checked = deployer("check", "site.yml", "--render", "rendered", "--json")
    assert checked.code == 0, checked
    found = {}
    for entry in checked.document["rendered"]:
        path, kept = entry["path"], state["tree"].get(entry["path"], ["absent"])[-1]
        if entry["kind"] == "link":
            promised = entry["target"]
        elif entry["left_out"]:
            promised = kept
        else:
            promised = hashlib.sha256(Path(f"rendered/web1{path}").read_bytes()).hexdigest()
        if promised != kept:
            found[path] = kept
    assert len(checked.document["rendered"]) >= 5
    return found


def test_a_bare_host_becomes_a_verified_service(lab: Lab, workdir: Path) -> None:
    """Plan, apply, apply again, break, verify, history: each as a user sees it."""
    goaccess_project(lab, workdir)
    (host,) = lab.hosts

    bare = state_of(host)
    planned = deployer("plan", "site.yml", "--detailed-exitcode")
    assert planned.code == 2, planned
    assert "+ package nginx" in planned.out
    assert '+map "$request_method:$http_upgrade"' in planned.out
    assert differences(bare, state_of(host)) == {}

    applied = deployer("apply", "site.yml", "--yes")
    assert applied.code == 0, applied
    assert "applied and confirmed as generation 1" in applied.out
    assert "general" in first_message(lab)

    again = deployer("apply", "site.yml", "--yes", PYTHONPROFILEIMPORTTIME="1")
    assert again.code == 0, again
    assert "nothing to do" in again.out
    assert_little_is_imported(again)

    good = state_of(host)
    assert not_as_rendered(good) == {}
    break_the_route()
    refused = deployer("apply", "site.yml", "--yes", "--json")
    assert refused.document["hosts"]["web1"]["state"] == "failed", refused
    broken = deployer("apply", "site.yml", "--yes", "--json", "--no-preflight")
    assert broken.code == 3, broken
    document = broken.document
    assert document["hosts"]["web1"]["state"] == "reverted"
    assert {finding["code"] for finding in document["findings"]} >= {"service-down"}
    assert all(finding["fix"] for finding in document["findings"])
    assert differences(good, state_of(host)) == {}
    assert "general" in first_message(lab)

    mend_the_route()
    there = f"stats.example.com:443:{host.address}"
    verified = deployer("verify", "site.yml", "--json", "--resolve", there)
    assert verified.code == 0, verified
    assert "healthy" in verified.err
    shaken = [
        check
        for check in verified.document["hosts"]["web1"]["checks"]
        if check["name"] == "handshake"
    ]
    assert [check["hop"] for check in shaken] == ["proxy", "backend", "public"]
    assert all("first_message" in check["handshake"]["timings_s"] for check in shaken)

    history = deployer("history", "site.yml", "--json")
    assert history.code == 0, history
    entries = history.document["hosts"]["web1"]["history"]
    assert [(entry["generation"], entry["state"]) for entry in entries] == [
        (None, "reverted"),
        (1, "confirmed"),
    ]


def test_a_first_apply_that_fails_leaves_the_bare_host(lab: Lab, workdir: Path) -> None:
    """Packages, users, files, links, units and times: all as before."""
    goaccess_project(lab, workdir)
    bare = state_of(lab.hosts[0])
    break_the_route()
    broken = deployer("apply", "site.yml", "--yes")
    assert broken.code == 3, broken
    assert "nothing listens" in broken.out
    assert "back in its former state" in broken.out
    assert differences(bare, state_of(lab.hosts[0])) == {}
