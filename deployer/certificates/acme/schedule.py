"""Renewals of what certbot keeps on the controller, twice a day: by systemd, else by cron.

For root these are units of the system, for others of their own systemd; where that does not run, it
is one marked line in the user's crontab. Each playbook has its own, and installing again replaces
what was there.
"""

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
from typing import Protocol

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
        """What its units and its crontab line are called: no part of it is a user's text."""
        digest = hashlib.sha256(os.fsencode(self.playbook)).hexdigest()[:12]
        return f"deployer-certs-{digest}"

    @property
    def argv(self) -> tuple[str, ...]:
        """What is run.

        Raises:
            UsageError: a word of it cannot stand in a unit or a crontab.
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
    """What was installed: `by` is ``systemd``, ``systemd --user`` or ``cron``.

    `where` are the files, or the crontab, in words; `note` is what the user should know or do,
    empty where there is nothing.
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
        """So that not all controllers of the world ask a CA at once."""
        return cls(secrets.randbelow(60), secrets.randbelow(12))


class Scheduler(Protocol):
    """One way to have a job run twice a day."""

    def works(self) -> bool:
        """Whether this way is open to this user on this machine."""

    def install(self, job: Job) -> Scheduled:
        """Put `job` in, in place of what it was. Raises `UsageError` where that fails."""

    def remove(self, job: Job) -> bool:
        """Take `job` out; whether it was there. Raises `UsageError` where that fails."""

    def next_run(self, job: Job) -> datetime.datetime | None:
        """When it runs next; `None` where it is not installed, or that is not known."""


def install(job: Job) -> Scheduled:
    """Have `job` run twice a day, at times that differ from controller to controller.

    Raises:
        UsageError: neither systemd nor cron is here, or it refuses.
    """
    job.argv  # noqa: B018 - raises before anything is changed
    ways = _ways()
    for way in ways:
        if way.works():
            for other in ways:
                if other is not way and other.works():
                    other.remove(job)
            return way.install(job)
    raise UsageError(
        "neither systemd nor cron runs here: nothing was scheduled",
        hint="Install cron, or run this twice a day by other means: deployer certs renew "
        f"{job.playbook}",
    )


def remove(job: Job) -> bool:
    """Take `job` out again, wherever it is; whether it was anywhere.

    Raises:
        UsageError: systemd or cron refuses.
    """
    removed = [way.remove(job) for way in _ways() if way.works()]
    return any(removed)


def next_run(job: Job) -> datetime.datetime | None:
    """When `job` runs next, in UTC; `None` where it is not scheduled."""
    found = (way.next_run(job) for way in _ways() if way.works())
    return next((at for at in found if at is not None), None)


def _ways() -> Sequence[Scheduler]:
    from deployer.certificates.acme.crontab import Crontab
    from deployer.certificates.acme.units import SystemdUnits

    return (SystemdUnits(), Crontab())


def run(
    argv: Sequence[str], *, text: str = "", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a tool of the system, in plain English, in UTC, and within a minute.

    Raises:
        UsageError: it is not there, or does not end.
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
