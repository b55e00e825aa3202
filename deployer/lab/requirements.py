"""The requirements of a machine for lab hosts."""

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
    """Check that hosts can be booted on this machine.

    Raises:
        LabError: with the missing requirement and how to satisfy it.
    """
    if sys.platform != "linux":
        raise LabError(f"Lab hosts need Linux; this is {sys.platform}.")
    if os.geteuid() != 0:
        raise LabError("Lab hosts need root: they are booted with systemd-nspawn.")
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        packages = " ".join(dict.fromkeys(_TOOLS[tool] for tool in missing))
        raise LabError(
            f"Lab hosts need {', '.join(missing)}.",
            hint=f"On Debian and Ubuntu: apt-get install {packages}",
        )
