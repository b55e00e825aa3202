"""The schedule of renewals on the machine that orders certificates for several hosts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from deployer.errors import UsageError
from deployer.text.times import minute


def schedule_here(
    playbook: Path,
    *,
    remove: bool,
    inventories: Sequence[Path],
    limit: str | None,
    extra_vars: Sequence[str],
) -> Iterator[str]:
    """Have this machine renew what it orders, or no longer; what came of it, in words.

    Raises:
        UsageError: neither systemd nor cron can be had to do it, or a secret might be told.
    """
    from deployer.certificates.acme import schedule
    from deployer.certificates.acme.job import Job

    job = Job(
        playbook=playbook.resolve(),
        inventories=tuple(path.resolve() for path in inventories),
        options=(
            *(("-l", limit) if limit else ()),
            *(word for each in extra_vars for word in ("-e", from_anywhere(each))),
        ),
    )
    if remove:
        was_there = schedule.remove(job)
        gone, never = "does not renew them any more", "had no schedule for this playbook"
        yield f"This machine {gone if was_there else never}."
        return
    if any(not each.strip().startswith("@") for each in extra_vars):
        raise UsageError(
            "-e NAME=VALUE would stand where everyone on this machine can read it; nothing was "
            "scheduled here",
            hint="Put it into a file: -e @FILE.",
        )
    done = schedule.install(job)
    when = f"; next run at {minute(done.next_run)}" if done.next_run else ""
    yield f"This machine renews what it orders, by {done.by}: {', '.join(done.where)}{when}."
    if done.note:
        yield done.note


def from_anywhere(extra_var: str) -> str:
    """What ``-e`` was given, for a run in another working folder: the path of a file is whole."""
    text = extra_var.strip()
    if not text.startswith("@"):
        return extra_var
    return f"@{Path(os.path.expanduser(text[1:])).absolute()}"
