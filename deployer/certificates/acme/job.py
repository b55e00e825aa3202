"""A scheduled renewal: the command to run, and how it was installed."""

from __future__ import annotations

import datetime
import hashlib
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployer.errors import UsageError

_COMMAND_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """``deployer certs renew`` for one playbook; `command` is how deployer is started.

    Paths are absolute. `options` are passed on as they are: ``-l``, ``-e`` and the like.
    """

    playbook: Path
    inventories: tuple[Path, ...] = ()
    options: tuple[str, ...] = ()
    command: tuple[str, ...] = (sys.executable, "-P", "-m", "deployer")

    @property
    def name(self) -> str:
        """The name of its units and its crontab line: no part of it is user input."""
        digest = hashlib.sha256(os.fsencode(self.playbook)).hexdigest()[:12]
        return f"deployer-certs-{digest}"

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line.

        Raises:
            UsageError: an argument cannot be written to a unit or a crontab.
        """
        inventories = [word for path in self.inventories for word in ("-i", str(path))]
        argv = (*self.command, "certs", "renew", str(self.playbook), *inventories, *self.options)
        for path in (Path(self.command[0]), self.playbook, *self.inventories):
            if not path.is_absolute():
                raise UsageError(f"{path} is not an absolute path; nothing was scheduled")
        for word in argv:
            if not word.isprintable():
                raise UsageError(
                    f"{word!r} has characters that cannot be printed, and so cannot be scheduled; "
                    "nothing was changed",
                    hint="Rename that file or folder.",
                )
        return argv


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """An installed job: `by` is ``systemd``, ``systemd --user`` or ``cron``.

    `where` names the files or the crontab; `note` is advice for the user, or empty.
    """

    by: str
    where: tuple[str, ...]
    next_run: datetime.datetime | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Times:
    """Twice a day: `minute` past `hour`, which is 0 to 11, and twelve hours later."""

    minute: int
    hour: int

    @classmethod
    def at_random(cls) -> Times:
        """Random times, so that controllers do not all contact a CA at once."""
        return cls(secrets.randbelow(60), secrets.randbelow(12))


def run(
    argv: Sequence[str], *, text: str = "", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a system tool with English output, in UTC, for at most a minute.

    Raises:
        UsageError: it is missing, or does not end in time.
    """
    try:
        return subprocess.run(
            argv,
            input=text,
            env={**os.environ, **(environment or {}), "LC_ALL": "C", "TZ": "UTC"},
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=_COMMAND_LIMIT_S,
        )
    except OSError as error:
        raise UsageError(f"cannot run {argv[0]}: {error.strerror or error}") from error
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"{' '.join(argv)} has not ended within {_COMMAND_LIMIT_S:g} s") from error
