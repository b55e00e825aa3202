"""Schedule renewals on the controller twice a day, with systemd or else cron.

Root gets system units, other users their own systemd units. If systemd is not running, the job is
one marked line in the user's crontab. Each playbook has its own job, and installing it again
replaces it.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Protocol

from deployer.certificates.acme.job import Job, Scheduled
from deployer.errors import UsageError


class Scheduler(Protocol):
    """A service of the system that runs a job twice a day."""

    def works(self) -> bool:
        """Whether this user can use it on this machine."""

    def install(self, job: Job) -> Scheduled:
        """Install or replace `job`. Raises `UsageError` if that fails."""

    def remove(self, job: Job) -> bool:
        """Remove `job`; return whether it was installed. Raises `UsageError` on failure."""

    def next_run(self, job: Job) -> datetime.datetime | None:
        """The next run; `None` if it is not installed or the time is unknown."""


def install(job: Job) -> Scheduled:
    """Run `job` twice a day, at times that differ between controllers.

    Raises:
        UsageError: neither systemd nor cron is running, or it refuses the job.
    """
    job.argv  # noqa: B018 - raises before anything is changed
    schedulers = _schedulers()
    for scheduler in schedulers:
        if scheduler.works():
            for other in schedulers:
                if other is not scheduler and other.works():
                    other.remove(job)
            return scheduler.install(job)
    raise UsageError(
        "neither systemd nor cron is running here; nothing was scheduled",
        hint="Install cron, or run this twice a day by other means: deployer certs renew "
        f"{job.playbook}",
    )


def remove(job: Job) -> bool:
    """Remove `job` from every scheduler; return whether it was installed.

    Raises:
        UsageError: systemd or cron refuses.
    """
    removed = [each.remove(job) for each in _schedulers() if each.works()]
    return any(removed)


def next_run(job: Job) -> datetime.datetime | None:
    """The next run of `job`, in UTC; `None` if it is not scheduled."""
    found = (each.next_run(job) for each in _schedulers() if each.works())
    return next((at for at in found if at is not None), None)


def _schedulers() -> Sequence[Scheduler]:
    from deployer.certificates.acme.crontab import Crontab
    from deployer.certificates.acme.units import SystemdUnits

    return (SystemdUnits(), Crontab())
