"""What a machine needs to boot rehearsal hosts, said in one line where it is missing."""

from __future__ import annotations

import os
import shutil
import sys

from deployer.errors import LabError

_TOOLS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "tc": "iproute2",
    "ssh-keygen": "openssh-client",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "flock": "util-linux",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
}


def require() -> None:
    """Check that hosts can be booted here.

    Raises:
        LabError: naming what is missing, and what to do about it.
    """
    if sys.platform != "linux":
        raise LabError(f"Rehearsal hosts need Linux; this is {sys.platform}.")
    if os.geteuid() != 0:
        raise LabError("Rehearsal hosts need root: they are booted by systemd-nspawn.")
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        packages = " ".join(dict.fromkeys(_TOOLS[tool] for tool in missing))
        raise LabError(
            f"Rehearsal hosts need {', '.join(missing)}.",
            hint=f"On Debian and Ubuntu: apt-get install {packages}",
        )
