"""The releases that deployer knows, by any of their names."""

from __future__ import annotations

from typing import get_args

import pytest

from deployer import model
from deployer.proxies import PROXIES
from deployer.sites.releases import RELEASES, named, series_of
from deployer.sites.versions import is_before, upstream, upstream_of


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("12", "debian-12"),
        ("debian-13", "debian-13"),
        ("Debian 13", "debian-13"),
        ("debian12", "debian-12"),
        ("12.9", "debian-12"),
        ("bookworm", "debian-12"),
        ("24.04", "ubuntu-24.04"),
        ("24.04.3", "ubuntu-24.04"),
        ("Ubuntu 24.04.3", "ubuntu-24.04"),
        ("ubuntu22.04", "ubuntu-22.04"),
        ("NOBLE", "ubuntu-24.04"),
        ("resolute", "ubuntu-26.04"),
        ("raspios-12", "raspberry-pi-os-12"),
        ("Raspberry Pi OS 13", "raspberry-pi-os-13"),
        ("raspberrypi-11", "raspberry-pi-os-11"),
        ("mint-22.1", "linux-mint-22"),
        ("Linux Mint Debian Edition 6", "lmde-6"),
        ("linuxmint 21", "linux-mint-21"),
        ("zara", "linux-mint-22"),
        ("LMDE 7", "lmde-7"),
    ],
)
def test_a_release_has_several_names(text: str, name: str) -> None:
    found = named(text)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("text", ["", "-", "14", "ubuntu", "fedora-43", "ubuntu-12", "22", ".."])
def test_other_texts_are_no_release(text: str) -> None:
    assert named(text) is None


def test_every_series_has_the_versions_of_every_proxy() -> None:
    series = {release.series for release in RELEASES.values()}
    assert series <= set(RELEASES)
    for name in get_args(model.Proxy):
        assert set(PROXIES[name].versions) == series
        assert all(map(upstream_of, PROXIES[name].versions.values()))


def test_a_derivative_is_of_the_series_whose_codename_it_names() -> None:
    assert series_of(["jammy", "virginia"]) == "ubuntu-22.04"
    assert series_of(["virginia"]) is None
    assert series_of([]) is None


def test_versions_are_compared_by_numbers() -> None:
    assert is_before("2.0.33", "2.2")
    assert not is_before("2.10", "2.2")
    assert not is_before("2.2", "2.2")
    assert upstream_of("1:2.4.66-2ubuntu2.5") == "2.4.66"
    assert upstream({"a": {"installed": None, "candidate": None}}, ["a"], otherwise="1") == "1"
