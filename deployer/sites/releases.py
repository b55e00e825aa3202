"""The releases of distributions that deployer knows, with the versions of November 2026.

The versions of the proxies are in their registry, by `Release.series`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release: Ansible's facts about it, and its packages.

    `series` is the release whose packages it has: a derivative's are another distribution's.
    `openssl` is the name and the version of the library's package.
    """

    name: str
    title: str
    series: str
    distribution: str
    version: str
    codename: str
    kernel: str
    python: str
    openssl: tuple[str, str]
    certbot: str
    architecture: str = "x86_64"


def _first(
    distribution: str,
    version: str,
    codename: str,
    *,
    kernel: str,
    python: str,
    openssl: tuple[str, str],
    certbot: str,
) -> Release:
    """A release with packages of its own."""
    name = f"{distribution.lower()}-{version}"
    return Release(
        name=name,
        title=f"{distribution} {version}",
        series=name,
        distribution=distribution,
        version=version,
        codename=codename,
        kernel=kernel,
        python=python,
        openssl=openssl,
        certbot=certbot,
    )


_DEBIAN_11 = _first(
    "Debian",
    "11",
    "bullseye",
    kernel="5.10.0",
    python="3.9.2",
    openssl=("libssl1.1", "1.1.1w-0+deb11u8"),
    certbot="1.12.0-2",
)
_DEBIAN_12 = _first(
    "Debian",
    "12",
    "bookworm",
    kernel="6.1.0",
    python="3.11.2",
    openssl=("libssl3", "3.0.22-1~deb12u2"),
    certbot="2.1.0-4",
)
_DEBIAN_13 = _first(
    "Debian",
    "13",
    "trixie",
    kernel="6.12.0",
    python="3.13.5",
    openssl=("libssl3t64", "3.5.7-1~deb13u3"),
    certbot="4.0.0-2+deb13u1",
)
_UBUNTU_20 = _first(
    "Ubuntu",
    "20.04",
    "focal",
    kernel="5.4.0",
    python="3.8.10",
    openssl=("libssl1.1", "1.1.1f-1ubuntu2.24"),
    certbot="0.40.0-1ubuntu0.1",
)
_UBUNTU_22 = _first(
    "Ubuntu",
    "22.04",
    "jammy",
    kernel="5.15.0",
    python="3.10.12",
    openssl=("libssl3", "3.0.2-0ubuntu1.23"),
    certbot="1.21.0-1build1",
)
_UBUNTU_24 = _first(
    "Ubuntu",
    "24.04",
    "noble",
    kernel="6.8.0",
    python="3.12.3",
    openssl=("libssl3t64", "3.0.13-0ubuntu3.15"),
    certbot="2.9.0-1",
)
_UBUNTU_26 = _first(
    "Ubuntu",
    "26.04",
    "resolute",
    kernel="7.0.0",
    python="3.14.3",
    openssl=("libssl3t64", "3.5.5-1ubuntu3.5"),
    certbot="4.0.0-4",
)
_FIRST = (_DEBIAN_11, _DEBIAN_12, _DEBIAN_13, _UBUNTU_20, _UBUNTU_22, _UBUNTU_24, _UBUNTU_26)


def _raspberry_pi_os(debian: Release) -> Release:
    """It says that it is Debian, and has its packages."""
    return replace(
        debian,
        name=f"raspberry-pi-os-{debian.version}",
        title=f"Raspberry Pi OS {debian.version}",
        architecture="aarch64",
    )


def _mint(base: Release, version: str, codename: str) -> Release:
    is_lmde = base.distribution == "Debian"
    title = "LMDE" if is_lmde else "Linux Mint"
    return replace(
        base,
        name=f"{title.lower().replace(' ', '-')}-{version.partition('.')[0]}",
        title=f"{title} {version}",
        distribution="Linux Mint Debian Edition" if is_lmde else "Linux Mint",
        version=version,
        codename=codename,
    )


_DERIVED = (
    *map(_raspberry_pi_os, (_DEBIAN_11, _DEBIAN_12, _DEBIAN_13)),
    _mint(_UBUNTU_22, "21.3", "virginia"),
    _mint(_UBUNTU_24, "22.2", "zara"),
    _mint(_DEBIAN_12, "6", "faye"),
    _mint(_DEBIAN_13, "7", "gigi"),
)

RELEASES: Mapping[str, Release] = {release.name: release for release in (*_FIRST, *_DERIVED)}
DEFAULT_RELEASE = "debian-12"
#: The releases on which sites with each proxy are supported, in prose.
SUPPORTED = "Debian 11 to 13, Ubuntu 22.04, 24.04 and 26.04, Raspberry Pi OS, and Linux Mint"

_BY_CODENAME = {release.codename: release.name for release in _FIRST}
_OTHER_NAMES = {
    "": "",
    "raspios": "raspberry-pi-os",
    "raspberry-pi": "raspberry-pi-os",
    "raspberrypi": "raspberry-pi-os",
    "raspbian": "raspberry-pi-os",
    "mint": "linux-mint",
    "linuxmint": "linux-mint",
    "linux-mint-debian-edition": "lmde",
}
_PARTS = re.compile(r"([a-z-]*?)-?([0-9.]*)")


def series_of(codenames: Iterable[str]) -> str | None:
    """The series of a host, by the codenames in its os-release(5); `None` if it is unknown.

    A derivative has its own codename, and in most cases that of the release it is made of.
    """
    return next((_BY_CODENAME[name] for name in codenames if name in _BY_CODENAME), None)


def named(text: str) -> Release | None:
    """The release that `text` names: ``ubuntu-24.04``, ``Ubuntu 24.04.1``, ``24.04``, ``noble``."""
    word = "-".join(text.lower().replace("_", " ").split())
    found = next((each for each in RELEASES.values() if word in (each.name, each.codename)), None)
    parts = _PARTS.fullmatch(word)
    if found or not parts or not parts[2]:
        return found
    name, version = _OTHER_NAMES.get(parts[1], parts[1]), parts[2]
    names = (name,) if name else ("debian", "ubuntu")
    while version:
        for each in names:
            if f"{each}-{version}" in RELEASES:
                return RELEASES[f"{each}-{version}"]
        version = version.rpartition(".")[0]
    return None
