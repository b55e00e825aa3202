"""Facts of freshly installed hosts, compared with those that Ansible gives for the release."""

from __future__ import annotations

import json

import pytest

from deployer.plan.stock_hosts import stock_host
from deployer.proxies.roles import ASKED_PACKAGES
from deployer.sites.releases import RELEASES
from tests.support.paths import CASES

FOLDER = CASES / "distributions"
#: Releases that identify as a different one, each with its case.
SAME_AS = {f"raspberry-pi-os-{number}": f"debian-{number}" for number in (11, 12, 13)}


@pytest.mark.parametrize("name", RELEASES)
def test_facts_are_those_of_the_release(name: str) -> None:
    path = FOLDER / f"{SAME_AS.get(name, name)}.json"
    expected = json.loads(path.read_text())["ansible"]
    facts = stock_host(name).facts
    version = expected.pop("ansible_distribution_version")
    assert {key: facts[key] for key in expected} == expected
    assert version.startswith(str(facts["ansible_distribution_version"]))


@pytest.mark.parametrize("name", RELEASES)
def test_every_package_has_a_version(name: str) -> None:
    found = stock_host(name).packages
    assert set(found) <= set(ASKED_PACKAGES)
    assert all(each["candidate"] for each in found.values())
    assert [each for each in found if found[each]["installed"]] == [RELEASES[name].openssl[0]]
