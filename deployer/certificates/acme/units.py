"""A service and a timer of systemd that renew certificates on the controller."""

from __future__ import annotations

import datetime
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from deployer.certificates.acme.job import Job, Scheduled, Times, run
from deployer.errors import UsageError
from deployer.private_folder import write_atomically


def quoted(word: str) -> str:
    """`word` as one argument in a unit file, whatever is in it (systemd.service(5)).

    `$` needs nothing: the command line starts with ``:``, which turns variables off.
    """
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def command_line(argv: Sequence[str]) -> str:
    """The value of ``ExecStart=`` that runs `argv` as it is."""
    # systemd accepts no program with such characters in its path, only such arguments.
    if set(argv[0]) & set("\"'\\"):
        argv = ("/bin/sh", "-c", 'exec "$@"', "sh", *argv)
    return ":" + " ".join(map(quoted, argv))


def service_text(job: Job, *, user: str | None) -> str:
    """The service; system units name `user`, so that it has a home."""
    description = str(job.playbook).replace("\\", "\\\\").replace("%", "%%")
    lines = [
        "# Written by deployer certs schedule.",
        "[Unit]",
        f"Description=Renew the certificates of {description}",
        "Wants=network-online.target" if user else "",
        "After=network-online.target" if user else "",
        "",
        "[Service]",
        "Type=oneshot",
        f"User={user}" if user else "",
        f"ExecStart={command_line(job.argv)}",
        "TimeoutStartSec=2h",
    ]
    return _joined(lines)


def timer_text(job: Job, times: Times) -> str:
    """The timer: twice a day, and soon after boot if a run was missed."""
    description = str(job.playbook).replace("\\", "\\\\").replace("%", "%%")
    lines = [
        "# Written by deployer certs schedule.",
        "[Unit]",
        f"Description=Twice a day: the certificates of {description}",
        "",
        "[Timer]",
        f"OnCalendar=*-*-* {times.hour:02},{times.hour + 12:02}:{times.minute:02}:00",
        "RandomizedDelaySec=15min",
        "Persistent=true",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    return _joined(lines)


def _joined(lines: Sequence[str]) -> str:
    """The non-empty lines, with an empty line before each section."""
    kept = [line for line in lines if line]
    text = "\n".join(f"\n{line}" if re.match(r"\[[STI]\w+\]", line) else line for line in kept)
    return text.replace("\n\n[Unit]", "\n[Unit]", 1) + "\n"


class SystemdUnits:
    """systemd: the system's for root, the user's own for others."""

    def __init__(self) -> None:
        self._is_root = os.geteuid() == 0
        home = Path(pwd.getpwuid(os.geteuid()).pw_dir)
        self._folder = (
            Path("/etc/systemd/system") if self._is_root else home / ".config/systemd/user"
        )
        # Where systemd records when a timer ran (systemd.timer(5), Persistent=); its own tool
        # removes that only in a session with a bus.
        data = Path("/var/lib") if self._is_root else home / ".local/share"
        self._stamps = data / "systemd" / "timers"
        runtime = Path(f"/run/user/{os.geteuid()}")
        # After su, or in cron, no session variable names the user's systemd.
        has_runtime = not self._is_root and "XDG_RUNTIME_DIR" not in os.environ and runtime.is_dir()
        self._environment = {"XDG_RUNTIME_DIR": str(runtime)} if has_runtime else {}

    def works(self) -> bool:
        """Whether it is running, and allows this user to have units."""
        if not Path("/run/systemd/system").is_dir() or shutil.which("systemctl") is None:
            return False
        return self._systemctl("show", "--property=Version").returncode == 0

    def install(self, job: Job) -> Scheduled:
        """Write both units and start the timer."""
        user = pwd.getpwuid(os.geteuid()).pw_name
        texts = {
            f"{job.name}.service": service_text(job, user=user if self._is_root else None),
            f"{job.name}.timer": timer_text(job, Times.at_random()),
        }
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for name, text in texts.items():
                temporary = self._folder / f".{name}.new"
                temporary.unlink(missing_ok=True)
                path = self._folder / name
                write_atomically(path, text.encode(), mode=0o644, temporary=temporary)
        except OSError as error:
            raise UsageError(
                f"cannot write {error.filename or self._folder}: {error.strerror}; "
                "nothing was scheduled"
            ) from error
        try:
            self._must("daemon-reload")
            self._must("enable", f"{job.name}.timer")
            self._must("restart", f"{job.name}.timer")
        except UsageError:
            self.remove(job)
            raise
        return Scheduled(
            by="systemd" if self._is_root else "systemd --user",
            where=tuple(str(self._folder / name) for name in texts),
            next_run=self.next_run(job),
            note="" if self._is_root else self._linger(user),
        )

    def remove(self, job: Job) -> bool:
        """Stop the timer, and remove both units and what systemd recorded about them."""
        paths = [self._folder / f"{job.name}.{kind}" for kind in ("timer", "service")]
        if not any(path.exists() for path in paths):
            return False
        self._systemctl("disable", "--now", paths[0].name)
        for path in (*paths, self._stamps / f"stamp-{job.name}.timer"):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise UsageError(f"cannot remove {path}: {error.strerror}") from error
        self._must("daemon-reload")
        return True

    def next_run(self, job: Job) -> datetime.datetime | None:
        """systemd's time; there is none for a timer that is not running."""
        done = self._systemctl("show", f"{job.name}.timer", "--property=NextElapseUSecRealtime")
        try:
            at = datetime.datetime.strptime(
                done.stdout.strip().replace(" UTC", " +0000"),
                "NextElapseUSecRealtime=%a %Y-%m-%d %H:%M:%S %z",
            )
        except ValueError:
            return None
        return at.astimezone(datetime.UTC)

    def _linger(self, user: str) -> str:
        """Keep the user's systemd running after logout; return advice if that fails."""
        if Path(f"/var/lib/systemd/linger/{user}").exists():
            return ""
        if shutil.which("loginctl") and run(["loginctl", "enable-linger"]).returncode == 0:
            return ""
        return (
            f"it runs only while {user} is logged in; to change that, as root: "
            f"loginctl enable-linger {user}"
        )

    def _systemctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        scope = [] if self._is_root else ["--user"]
        return run(["systemctl", *scope, *words], environment=self._environment)

    def _must(self, *words: str) -> None:
        done = self._systemctl(*words)
        if done.returncode:
            raise UsageError(
                f"systemctl {' '.join(words)} failed: {done.stderr.strip()}; nothing was scheduled"
            )
