"""Images: Debian servers with the packages of the playbooks in apt's cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployer.errors import LabError
from deployer.lab.folders import images_folder, locked
from deployer.lab.shell import run

SUITES = {"debian-11": "bullseye", "debian-12": "bookworm", "debian-13": "trixie"}
DEFAULT_IMAGE = "debian-12"

#: The packages of a Debian server that are useful in a container.
_INSTALLED = (
    "adduser",
    "apt-utils",
    "ca-certificates",
    "cron",
    "dbus",
    "iproute2",
    "iputils-ping",
    "less",
    "libpam-systemd",
    "logrotate",
    "netbase",
    "openssh-server",
    "procps",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
    "tzdata",
)

#: Packages in apt's cache, with their recommended ones, for installation without a network.
_CACHED = (
    "apache2",
    "certbot",
    "curl",
    "goaccess",
    "haproxy",
    "nginx",
    "openssl",
    "python3-venv",
    "python3-websockets",
)

#: The same, if the release has them: a certificate authority and a name server for tests.
_CACHED_IF_KNOWN = ("bind9", "pebble", "python3-certbot-dns-rfc2136")

#: The same by release: the languages of the services of the ready playbooks.
_CACHED_IN = {
    "bookworm": (
        "golang-go",
        "golang-golang-x-net-dev",
        "libnginx-mod-http-lua",
        "puma",
        "python3-fastapi",
        "python3-uvicorn",
        "rails",
    ),
}

#: Leaves in apt's lists what is installed or cached. A host can install nothing else, and with the
#: lists of a whole release, each apt command takes a third of a second.
_ONLY_AVAILABLE = r"""
names=$(mktemp)
sed -n 's/^Package: //p' "$1"/var/lib/dpkg/status > "$names"
ls "$1"/var/cache/apt/archives | sed -n 's/_.*[.]deb$//p' >> "$names"
for list in "$1"/var/lib/apt/lists/*_Packages; do
    awk 'NR == FNR { known[$0]; next } /^Package: / { kept = $2 in known } kept' \
        "$names" "$list" > "$list.kept"
    mv "$list.kept" "$list"
done
rm "$names"
"""

#: Debian Policy, 5.6.7.
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")

#: Installs the libraries of the proxies and of certbot, which takes half the time of installing
#: those. Their own packages, and everything that runs, stay what a playbook installs.
_WITH_LIBRARIES = r"""
wanted="apache2 certbot goaccess haproxy nginx"
with="--option APT::Install-Recommends=true"
new=$(chroot "$1" apt-get --simulate $with install $wanted | sed -n 's/^Inst \([^ ]*\) .*/\1/p')
libraries=$(chroot "$1" apt-cache show --no-all-versions $new |
    awk '/^Package: / { name = $2 } /^Section: (libs|python)$/ { print name }' |
    grep -v -e '^python3-acme$' -e '^python3-certbot')
chroot "$1" apt-get --yes --no-download --option Dpkg::Use-Pty=false install $libraries
"""

_BUILD_TIMEOUT_S = 900.0
_UNFINISHED = ".unfinished"

#: Makes an interrupted build end apt and dpkg, and remove their mounts.
_ENDS_WITH_PARENT = (
    *("setpriv", "--pdeathsig=KILL"),
    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
)
_STALE_AFTER_S = (
    30 * 86400.0
)  # a lab of a different checkout may use an image of a different recipe

#: Units that wait for a network that lab hosts do not have.
_MASKED = ("systemd-networkd-wait-online.service", "apt-daily.timer", "apt-daily-upgrade.timer")


@dataclass(frozen=True, slots=True)
class Image:
    """A root file system to boot, never written to."""

    name: str
    root: Path


def image(name: str, *, packages: Sequence[str] = (), progress: Callable[[str], None]) -> Image:
    """The cached image `name`, built first if it is missing; with `packages` in apt's cache, too.

    Raises:
        LabError: there is no such image or package, or the build failed.
    """
    if name not in SUITES:
        raise LabError(f"Unknown image: {name!r}.", hint=f"Images: {', '.join(SUITES)}.")
    for package in packages:
        if not _PACKAGE.fullmatch(package):
            raise LabError(f"Invalid name of a package: {package!r}.")
    recipe = _recipe(SUITES[name], sorted(set(packages)))
    key = hashlib.sha256("\0".join(recipe).encode()).hexdigest()[:12]
    folder = images_folder() / f"{name}-{key}"
    if not folder.is_dir():  # an existing one does not wait until a different one is built
        with locked(images_folder() / f"{name}.lock"):
            if not folder.is_dir():
                progress(f"building the image {name} (only once); this takes a minute")
                _remove_stale(name)
                _build(recipe, folder)
    os.utime(folder)  # the time of last use, see _remove_stale
    return Image(name=name, root=folder)


def _recipe(suite: str, packages: Sequence[str]) -> list[str]:
    # One by one: together, one package could satisfy what another recommends, and hide it.
    download = "apt-get --yes --download-only -o APT::Install-Recommends=true install $package"
    each = f"for package in {' '.join(_CACHED)}; do {download} || exit 1; done"
    known = "apt-cache show $package >/dev/null 2>&1 || continue"
    if_known = (*_CACHED_IF_KNOWN, *_CACHED_IN.get(suite, ()))
    more = f"for package in {' '.join(if_known)}; do {known}; {download} || exit 1; done"
    hooks = [
        f"export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG; {each}; {more}",
        *map(_download, packages),
        'rm -f "$1"/etc/ssh/ssh_host_*',
        'printf "UseDNS no\\n" > "$1"/etc/ssh/sshd_config.d/lab.conf',
        # Installations need not survive a power failure; this halves their time.
        'echo force-unsafe-io > "$1"/etc/dpkg/dpkg.cfg.d/lab',
        # Neither must packages in Python be compiled; that takes half the time of certbot's.
        'chroot "$1" dpkg-divert --quiet --local --rename --add /usr/bin/py3compile',
        'ln -s true "$1"/usr/bin/py3compile',
        _WITH_LIBRARIES,
        'systemctl --root="$1" enable systemd-networkd.service',
        f'systemctl --root="$1" mask {" ".join(_MASKED)}',
        # mmdebstrap copies these from the machine that it runs on.
        'rm -f "$1"/etc/hostname "$1"/etc/resolv.conf; : > "$1"/etc/machine-id',
        # Root's service manager starts at boot, rather than for each connection after a pause.
        'mkdir -p "$1"/var/lib/systemd/linger; : > "$1"/var/lib/systemd/linger/root',
        _ONLY_AVAILABLE,
        # Build the index: otherwise the first apt command on each host takes a second longer.
        'chroot "$1" apt-cache gencaches',
    ]
    return [
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=minbase",
        "--skip=cleanup/apt",
        f"--include={','.join(_INSTALLED)}",
        *(f"--customize-hook={hook}" for hook in hooks),
        suite,
    ]


def _download(package: str) -> str:
    """Without recommended packages, as a playbook installs it."""
    return f"APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --yes --download-only install {package}"


def _remove_stale(name: str) -> None:
    """Remove the remains of killed builds, and images that were not used for a long time."""
    for folder in images_folder().glob(f"{name}-*/"):
        old = time.time() - folder.stat().st_mtime > _STALE_AFTER_S
        if old or folder.name.endswith(_UNFINISHED):
            shutil.rmtree(folder, ignore_errors=True)


def _build(recipe: list[str], folder: Path) -> None:
    """Build next to `folder` and rename, so that an interrupted build leaves no partial image."""
    unfinished = folder.with_name(f"{folder.name}{_UNFINISHED}")
    try:
        run([*_ENDS_WITH_PARENT, *recipe, str(unfinished)], timeout_s=_BUILD_TIMEOUT_S)
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    finally:
        deadline = time.monotonic() + 10.0
        while unfinished.exists() and time.monotonic() < deadline:
            shutil.rmtree(
                unfinished, ignore_errors=True
            )  # killed processes may still write briefly
