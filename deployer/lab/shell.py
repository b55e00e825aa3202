"""Run other programs with a time limit, and show their output if they fail."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from deployer.errors import LabError


def run(argv: Sequence[str], *, timeout_s: float = 300.0, quiet_failure: bool = False) -> str:
    """The standard output of `argv`.

    Raises:
        LabError: it took too long, or failed (unless `quiet_failure`).
    """
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{argv[0]} took longer than {timeout_s:.0f} s") from error
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is not installed") from error
    if done.returncode and not quiet_failure:
        words = (done.stderr or done.stdout).strip()[-2000:]
        raise LabError(f"{' '.join(argv[:3])}… failed ({done.returncode}):\n{words}")
    return done.stdout
