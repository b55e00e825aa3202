"""The watchdog: it reverts a commit if the agent cannot."""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import time

from deployer.agent import settings
from deployer.agent.channel import Bell
from deployer.agent.children import Children
from deployer.agent.errors import StepError, check_name
from deployer.agent.files import (
    look_at,
    names_in,
    overwrite,
    remove_tree,
    sync_folder,
    write_synced,
)
from deployer.agent.processes import started_at
from deployer.agent.proxies import UNITS
from deployer.agent.settings import BOOT_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from deployer.agent.settings import Json

#: How long after the deadline the timer fires: a live agent acts at the deadline itself.
WATCHDOG_GRACE_S = 1.0
#: How long after an attempt that found the lock taken the timer retries.
WATCHDOG_RETRY_S = 5
#: How long after its time a timer fires again, in case that it has not fired.
_ONCE_MORE_S = (5.0, 15.0, 45.0, 135.0, 405.0)
#: How often a failed revert is retried, over 21 minutes in all.
WATCHDOG_TRIES = 7
# Ordinary services start after basic.target: bootup(7). The proxies are named too, in case that
# their units have no default dependencies.
_BOOT_UNIT_TEXT = """\
[Unit]
Description=Revert a commit of deployer that was not confirmed before this boot
DefaultDependencies=no
RequiresMountsFor={state}
After=local-fs.target sysinit.target
Before=basic.target {proxies}
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
SyslogIdentifier=deployer
TimeoutStartSec=10min
ExecStart={command}
"""


class Watchdog:
    """A timer for the deadline and a unit for the next boot, both for one commit.

    The timer is monotonic: setting the clock does not affect it. From the deadline on it checks
    every few seconds whether the agent still holds the lock; it is not changed when the agent gets
    more time, since a timer that is restarted during a daemon-reload may be lost. Folders of /etc
    keep their times when the unit is created and when it is removed.
    """

    def __init__(self, commit: str, *, duration_s: float, makes_wants: bool) -> None:
        """`makes_wants`: the folder of the boot unit's link is created too."""
        self._commit = check_name(commit)
        self._makes_wants = makes_wants
        self.duration_s = max(duration_s, 1.0)
        kept = [sign if sign.isalnum() or sign in "-." else "_" for sign in commit]
        self._name = "deployer-watchdog-{}".format("".join(kept))
        self._timer = self._name + ".timer"
        self._children = Children(lambda: False)

    def arm(self, program: str) -> None:
        """Arm it, once everything that a revert needs is on the disk and before the first change.

        Raises:
            StepError: systemd rejects the timer.
            OSError: the unit cannot be written.
        """
        _remove_programs()
        os.link(program, settings.WATCHDOG_PROGRAM)
        self._start_timer(self._timer, self.duration_s + WATCHDOG_GRACE_S)
        # From here on the timer cleans up if this process dies before the commit begins.
        if not os.path.isdir(settings.BOOT_WANTS):
            _keeping_time([settings.UNITS], lambda: os.mkdir(settings.BOOT_WANTS, 0o755))
        command = " ".join(_unit_word(word) for word in self._command("boot"))
        text = _BOOT_UNIT_TEXT.format(
            state=_unit_word(settings.STATE),
            proxies=" ".join(unit + ".service" for unit in UNITS),
            command=command,
        )
        _keeping_time(
            [settings.UNITS, settings.BOOT_WANTS], lambda: self._put_boot_unit(text.encode())
        )
        for folder in (settings.STATE, settings.UNITS, settings.BOOT_WANTS):
            sync_folder(folder)

    @staticmethod
    def _put_boot_unit(text: bytes) -> None:
        """Create the unit and its link in quick succession: a crash between them leaves one."""
        staged = os.path.join(settings.STATE, BOOT_NAME)
        for path in (settings.BOOT_LINK, staged):
            remove_tree(path)
        write_synced(staged, text, 0o644)
        try:
            os.rename(staged, settings.BOOT_UNIT)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            write_synced(settings.BOOT_UNIT, text, 0o644)
        os.symlink(settings.BOOT_UNIT, settings.BOOT_LINK)

    def arm_again(self, tries: int) -> bool:
        """Schedule a retry of a failed revert, each time later; false after the last one.

        The cause may be temporary: a full disk, a running package manager.
        """
        if tries > WATCHDOG_TRIES:
            return False
        self._systemctl("stop", self._timer, self._name + "-try*.timer")
        try:
            self._start_timer(f"{self._name}-try{tries + 1}.timer", 5.0 * 2**tries)
        except StepError:
            return False
        return True

    def _start_timer(self, name: str, after_s: float) -> None:
        self._children.succeed(
            [
                "systemd-run",
                "--quiet",
                "--collect",
                "--unit=" + name,
                "--description=Revert a commit of deployer at its deadline",
                f"--on-active={after_s:.3f}s",
                # A daemon-reload at that moment makes systemd lose it: hence more times.
                *(f"--timer-property=OnActiveSec={after_s + more:.3f}s" for more in _ONCE_MORE_S),
                f"--on-unit-inactive={WATCHDOG_RETRY_S}s",
                "--timer-property=AccuracySec=100ms",
                "--property=SyslogIdentifier=deployer",
                "--",
                *self._command("deadline"),
            ]
        )

    def _command(self, why: str) -> list[str]:
        python = sys.executable or "/usr/bin/python3"
        program = settings.WATCHDOG_PROGRAM
        if look_at(program) is None and look_at(settings.OLD_WATCHDOG_PROGRAM) is not None:
            program = settings.OLD_WATCHDOG_PROGRAM  # an earlier version made the commit
        return [python, "-I", program, "--revert=" + self._commit, "--why=" + why]

    def disarm(self, *, boot_too: bool = True, of_any: bool = False) -> None:
        """Remove everything. The commit has ended, so what is left would do nothing.

        Without `boot_too`, the boot unit belongs to a different commit by now. With `of_any`, no
        commit is unfinished, and the timers of all are removed.
        """
        if boot_too:
            self._remove_boot_unit()
        # The timer is removed last: if this process dies before, it fires and does the rest.
        mine = [self._timer, self._name + "-try*.timer"]
        timers = ["deployer-watchdog-*.timer"] if of_any else mine
        try:
            self._children.run(["systemctl", "stop", *timers])
        except StepError:
            return  # it fires, and needs the program for that
        if boot_too:
            _remove_programs()

    def _remove_boot_unit(self) -> None:
        _keeping_time([settings.UNITS, settings.BOOT_WANTS], self._unlink_boot_unit)
        if (
            self._makes_wants
            and not names_in(settings.BOOT_WANTS)
            and os.path.isdir(settings.BOOT_WANTS)
        ):
            _keeping_time([settings.UNITS], lambda: os.rmdir(settings.BOOT_WANTS))
        # Every daemon-reload loads the unit: make systemd forget it too.
        listed = self._systemctl("list-units", "--all", "--no-legend", "--plain", BOOT_NAME)
        if listed:
            self._systemctl("daemon-reload")

    @staticmethod
    def _unlink_boot_unit() -> None:
        for path in settings.BOOT_UNIT_FILES:
            if look_at(path) is not None:
                os.unlink(path)

    def _systemctl(self, *words: str) -> str:
        try:
            return self._children.run(["systemctl", *words])[1]
        except StepError:
            return ""


def _remove_programs() -> None:
    for path in settings.WATCHDOG_PROGRAMS:
        remove_tree(path)


def watchdog_of(meta: Json) -> Watchdog | None:
    """The watchdog of a commit according to its ``meta.json``, if it has one."""
    about = meta.get("watchdog")
    if not about:
        return None
    return Watchdog(
        meta["commit"],
        duration_s=float(meta.get("rollback_duration_s") or 0),
        makes_wants=bool(about.get("makes_wants")),
    )


#: How long after its last pulse a process with the lock does not count as hung.
_AT_WORK_S = 30.0


def note_pulse(for_s: float) -> None:
    """Tell the watchdog for how long this process may hold the lock, in monotonic time."""
    pid = os.getpid()
    pulse = {"pid": pid, "started": started_at(pid), "until_s": time.monotonic() + for_s}
    overwrite(settings.PULSE, json.dumps(pulse).encode())


class Keeper:
    """Reports to the watchdog that this process is alive and working, until `stop`."""

    def __init__(self) -> None:
        self._stopped = Bell()
        self._is_over = False
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        note_pulse(_AT_WORK_S)
        while not self._stopped.wait(settings.ALIVE_EVERY_S):
            note_pulse(_AT_WORK_S)

    def stop(self) -> None:
        """End; may be called again."""
        if not self._is_over:
            self._is_over = True
            self._stopped.ring()
            self._thread.join()
            self._stopped.remove()


def _keeping_time(folders: list[str], act: Callable[[], Any]) -> None:
    """Do something in `folders` without changing their times."""
    infos = {folder: look_at(folder) for folder in folders}
    act()
    for folder, info in infos.items():
        if info is not None:
            os.utime(folder, ns=(info.st_atime_ns, info.st_mtime_ns))


def _unit_word(word: str) -> str:
    """A word of a command line in a unit file: systemd.service(5), COMMAND LINES."""
    for sign in ("\\", '"'):
        word = word.replace(sign, "\\" + sign)
    return '"{}"'.format(word.replace("%", "%%").replace("$", "$$"))
