"""The renewal schedule on the controller, for the certificates that it orders."""

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
    """Have this machine renew what it orders, or stop that; yields the result in words.

    Raises:
        UsageError: neither systemd nor cron can do it, or a secret might be disclosed.
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
        gone, never = "no longer renews them", "had no schedule for this playbook"
        yield f"This machine {gone if was_there else never}."
        return
    if any(not each.strip().startswith("@") for each in extra_vars):
        raise UsageError(
            "-e NAME=VALUE would be readable by everyone on this machine; nothing was "
            "scheduled here",
            hint="Use a file: -e @FILE.",
        )
    done = schedule.install(job)
    when = f"; next run at {minute(done.next_run)}" if done.next_run else ""
    yield f"This machine renews what it orders, with {done.by}: {', '.join(done.where)}{when}."
    if done.note:
        yield done.note


def from_anywhere(extra_var: str) -> str:
    """The value of ``-e`` for a run in a different folder: the path of a file is absolute."""
    text = extra_var.strip()
    if not text.startswith("@"):
        return extra_var
    return f"@{Path(os.path.expanduser(text[1:])).absolute()}"
