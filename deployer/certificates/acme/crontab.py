"""One marked line in the user's crontab that renews certificates on the controller."""

from __future__ import annotations

import contextlib
import datetime
import re
import shlex
import shutil
from pathlib import Path

from deployer.certificates.acme.job import Job, Scheduled, Times, run
from deployer.errors import UsageError

#: crontab(5): a longer line is not read.
_LONGEST_LINE = 990


def line_for(job: Job, times: Times) -> str:
    """The line that runs `job`.

    Raises:
        UsageError: cron would misread the command.
    """
    command = shlex.join(job.argv)
    # cron turns percent signs into line breaks, and treats backslashes differently.
    bad = sorted(set(command) & set("%\\"))
    if bad:
        raise UsageError(
            f"{' and '.join(bad)} in a path cannot be passed through a crontab; "
            "nothing was scheduled",
            hint="Rename that file or folder.",
        )
    line = f"{times.minute} {times.hour},{times.hour + 12} * * * {command} {_mark(job)}"
    if len(line.encode()) > _LONGEST_LINE:
        raise UsageError(
            f"the command is too long for a crontab ({len(line)} characters); "
            "nothing was scheduled",
            hint="Move the playbook or its inventory to a folder with a shorter path.",
        )
    return line


def without(job: Job, text: str) -> str:
    """A crontab without the line of `job`; everything else is unchanged."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not line.rstrip().endswith(_mark(job)))


def next_time(line: str, now: datetime.datetime) -> datetime.datetime | None:
    """When one of our lines runs next; `now` is in the machine's time zone."""
    found = re.match(r"(\d+) (\d+),(\d+) \* \* \* ", line)
    if not found:
        return None
    minute, *hours = map(int, found.groups())
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    days = (midnight, midnight + datetime.timedelta(days=1))
    at = [day.replace(hour=hour, minute=minute) for day in days for hour in hours]
    return min(each for each in at if each > now)


def _mark(job: Job) -> str:
    return f"# {job.name}"


def _is_running() -> bool:
    names = set()
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            names.add(path.read_text().strip())
    return bool(names & {"cron", "crond"})


class Crontab:
    """cron, by ``crontab``."""

    def works(self) -> bool:
        """Whether cron is installed."""
        return shutil.which("crontab") is not None

    def install(self, job: Job) -> Scheduled:
        """Add the line, or replace the existing one."""
        line = line_for(job, Times.at_random())
        kept = without(job, self._read())
        if kept and not kept.endswith("\n"):
            kept += "\n"
        self._write(f"{kept}{line}\n")
        note = "" if _is_running() else "cron does not seem to be running here: start it"
        return Scheduled(by="cron", where=("crontab -l",), next_run=self.next_run(job), note=note)

    def remove(self, job: Job) -> bool:
        """Remove the line."""
        text = self._read()
        kept = without(job, text)
        if kept == text:
            return False
        self._write(kept)
        return True

    def next_run(self, job: Job) -> datetime.datetime | None:
        """The time in the line, converted from the machine's time zone to UTC."""
        now = datetime.datetime.now().astimezone()
        for line in self._read().splitlines():
            if line.rstrip().endswith(_mark(job)) and (at := next_time(line, now)):
                return at.astimezone(datetime.UTC)
        return None

    @staticmethod
    def _read() -> str:
        done = run(["crontab", "-l"])
        if done.returncode and "no crontab for" not in done.stderr:
            raise UsageError(f"crontab -l failed: {done.stderr.strip()}; nothing was scheduled")
        return done.stdout if done.returncode == 0 else ""

    @staticmethod
    def _write(text: str) -> None:
        done = run(["crontab", "-"], text=text)
        if done.returncode:
            raise UsageError(f"crontab rejects it: {done.stderr.strip()}; the crontab is unchanged")
