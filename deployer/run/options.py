"""The options of one command that connects to hosts, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deployer.verify.public.hop import PublicHop


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """What the user asked for; the defaults are those of the command line.

    The options from `inventories` to `skip_tags` select hosts, variables and tasks; those from
    `user` to `connect_timeout_s` control the connections, those from `confirm_timeout_s` to
    `displaces` the commits. `public` is `None` if nothing is checked through public DNS. `html`,
    `junit` and `metrics` are the report files to write. With `is_quiet`, progress is not shown.
    """

    inventories: Sequence[Path] = ()
    limit: str | None = None
    extra_vars: Sequence[str] = ()
    tags: str | None = None
    skip_tags: str | None = None
    user: str | None = None
    ask_pass: bool = False
    become: bool = False
    forks: int | None = None
    ask_become_pass: bool = False
    accept_new: bool = False
    install_python: bool = False
    connect_timeout_s: float | None = None
    confirm_timeout_s: float | None = None
    lock_timeout_s: float = 0.0
    watchdog: bool = True
    preflight: bool = True
    neighbours: bool = True
    keep: int = 10
    staging_first: bool = True
    canaries: int = 5
    displaces: Sequence[str] = ()
    prune: bool = False
    prune_packages: bool = False
    prune_certificates: bool = False
    public: PublicHop | None = None
    as_json: bool = False
    verbose: bool = False
    is_quiet: bool = False
    html: Path | None = None
    junit: Path | None = None
    metrics: Path | None = None

    def check(self) -> None:
        """Check that the options go together.

        Raises:
            UsageError: only a part of the playbook would decide what is left over.
        """
        if self.prune and (self.tags or self.skip_tags):
            given = "--tags" if self.tags else "--skip-tags"
            raise UsageError(
                f"--prune needs the whole playbook, but {given} selects a part; no host was "
                "touched",
                hint="What the other tasks name would count as no longer in the playbook: leave "
                f"{given} out.",
            )
