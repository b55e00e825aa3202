"""systemd units: systemctl and journalctl."""

from __future__ import annotations

import time

from deployer.agent.errors import StepError
from deployer.agent.processes import is_proxy, main_pid, processes_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.children import Children
    from deployer.agent.settings import Json

_SHOWN_PROPERTIES = "Id,LoadState,UnitFileState,ActiveState,SubState,MainPID,Type"


def service_name(unit: str) -> str:
    """The name of a service without its suffix."""
    return unit[: -len(".service")] if unit.endswith(".service") else unit


class Systemd:
    """systemctl(1). A unit's name without a suffix means a service."""

    def __init__(self, children: Children) -> None:
        self._children = children

    def show(self, units: list[str], properties: str = _SHOWN_PROPERTIES) -> dict[str, Json]:
        """Some properties of each unit, by the requested name, with one call."""
        _, output = self._children.run(
            ["systemctl", "show", "--no-pager", "-p", properties, "--", *units]
        )
        blocks = [block for block in output.split("\n\n") if block.strip()]
        if len(blocks) != len(units):
            raise StepError("unexpected output of systemctl", output)
        shown = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in blocks]
        return dict(zip(units, shown))

    def show_services(self, properties: str) -> dict[str, Json]:
        """The same of every service that systemd has loaded; `properties` has ``Id``."""
        argv = ["systemctl", "show", "--no-pager", "-p", properties, "--", "*.service"]
        blocks = self._children.run(argv)[1].split("\n\n")
        shown = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in blocks]
        return {service_name(each["Id"]): each for each in shown if each.get("Id")}

    def sockets(self) -> str:
        """Each .socket unit with its addresses, one line each: ``Listen=127.0.0.1:8000 (Stream)``,
        and the unit that it starts."""
        argv = ["systemctl", "show", "--no-pager", "-p", "Id,Listen,Triggers", "--", "*.socket"]
        return self._children.run(argv)[1]

    def act(self, verb: str, unit: str) -> None:
        """``systemctl VERB UNIT``; a failure includes the unit's last messages.

        A proxy that is stopped must be able to start again.
        """
        left = self._may_be_left(unit) if verb in ("stop", "restart") else []
        if left and verb == "restart":
            self.act("stop", unit)
            verb = "start"
        code, output = self._children.run(["systemctl", verb, unit], limit_s=150.0)
        if code != 0:
            text = f"{output}\n{self.last_words(unit)}"
            raise StepError(f"systemctl {verb} {unit} ended with exit code {code}", text.strip())
        if left and verb == "stop":
            from deployer.agent.unix_listeners import remove_stale

            remove_stale(left)

    def _may_be_left(self, unit: str) -> list[str]:
        """The unix sockets of a running proxy."""
        main = main_pid(self.show([unit])[unit])
        if not is_proxy(main):
            return []
        from deployer.agent.unix_listeners import unix_listeners

        return unix_listeners(main)

    def reload_units(self) -> None:
        self._children.succeed(["systemctl", "daemon-reload"], limit_s=90.0, interruptible=False)

    def last_words(self, unit: str) -> str:
        """The output of `systemctl status`, and the unit's last log lines.

        Without the second command, a unit that has just failed and waits for its restart would
        show no lines at all.
        """
        status = ["systemctl", "status", "--no-pager", "-l", "-n", "0", unit]
        log = ["journalctl", "--no-pager", "-q", "-n", "20", "-u", unit]
        self._children.run(["journalctl", "--sync"])
        return "\n".join(self._children.run(argv)[1].strip() for argv in (status, log))

    def active(self, unit: str) -> bool:
        return self.show([unit])[unit].get("ActiveState") in ("active", "reloading")

    def must_be_active(self, unit: str, doing: str) -> None:
        """Wait until the unit has settled, then check that it runs; a proxy must have workers."""
        deadline = time.monotonic() + 60.0
        while True:
            shown = self.show([unit])[unit]
            state = shown.get("ActiveState", "")
            if state not in ("reloading", "activating") or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        if state != "active" and not (state == "inactive" and shown.get("Type") == "oneshot"):
            raise StepError(f"{unit} is {state} after its {doing}", self.last_words(unit))
        main = main_pid(shown)
        while is_proxy(main) and processes_of(main) is None:
            if time.monotonic() > deadline:
                words = f"{unit} has no process that accepts connections after its {doing}"
                raise StepError(words, self.last_words(unit))
            time.sleep(0.02)

    def reload(self, unit: str) -> None:
        """Reload a unit, or start it if it is not running.

        Raises:
            StepError: it failed, or still uses its old configuration.
        """
        shown = self.show([unit])[unit]
        if shown.get("ActiveState") not in ("active", "reloading"):
            self.start(unit)
            return
        from deployer.agent.reloads import reload_watch

        watch = reload_watch(self, unit, main_pid(shown))
        try:
            self.act("reload", unit)
        except StepError:
            if watch:
                watch.must_live()
            raise
        if watch:
            watch.wait()
        self.must_be_active(unit, "reload")

    def start(self, unit: str) -> None:
        """Start a unit, and make sure that it runs.

        Raises:
            StepError: it did not start.
        """
        self.act("start", unit)
        self.must_be_active(unit, "start")

    def words_since(self, unit: str, moment_s: float) -> list[str]:
        """The lines that a unit has written to the journal since a time of the wall clock."""
        since = f"--since=@{moment_s:.6f}"
        argv = ["journalctl", "--quiet", "--no-pager", "--output=cat", since, "--unit", unit]
        try:
            return self._children.run(argv, limit_s=10.0)[1].splitlines()
        except StepError:
            return []
