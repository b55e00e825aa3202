"""Whether a service that a commit wants running still runs, from two looks at its unit."""

from __future__ import annotations

from deployer.agent.processes import TICK_NS, main_pid, started_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.settings import Json

#: What systemctl shows about a unit; those of other types lack some of them.
PROPERTIES = (
    "Id,LoadState,ActiveState,SubState,Result,Type,MainPID,InvocationID,NRestarts,ControlGroup,"
    "TriggeredBy,InactiveEnterTimestampMonotonic,InactiveExitTimestampMonotonic,FragmentPath"
)
_ON_ITS_WAY = ("activating", "deactivating", "reloading", "refreshing")


def restarts(shown: Json) -> int:
    """How often systemd has restarted a service on its own since it was started."""
    return int(shown.get("NRestarts") or 0)


def is_running(shown: Json) -> bool:
    """Whether the unit is active."""
    return shown.get("ActiveState") in ("active", "reloading", "refreshing")


def is_long_running(shown: Json) -> bool:
    """Whether the unit has processes as long as it is active."""
    return shown.get("Type") not in ("oneshot", "dbus") and "Type" in shown


def is_on_its_way(shown: Json) -> bool:
    """Whether the unit will be in a different state in a moment, other than by a restart."""
    return shown.get("ActiveState") in _ON_ITS_WAY and not _waits_for_restart(shown)


def sockets_of_unit(shown: Json) -> list[str]:
    """The .socket units that start a service when a connection arrives."""
    return [name for name in shown.get("TriggeredBy", "").split() if name.endswith(".socket")]


def _waits_for_restart(shown: Json) -> bool:
    return str(shown.get("SubState", "")).startswith("auto-restart")


def problem_of(unit: str, now: Json, base: Json) -> str:
    """Why a unit is not up; empty if it is. `base` is an earlier look at it.

    A service that ends by itself may be idle between two connections of its socket, and a one-shot
    service is done.
    """
    again = restarts(now) - restarts(base)
    if again > 0 or _waits_for_restart(now):
        times = f"{again} time{'' if again == 1 else 's'}"
        does = f"systemd restarted it {times}" if again > 0 else "systemd is about to restart it"
        return f"{unit} does not stay up: it ended, and {does}"
    if is_running(now) or is_on_its_way(now):
        return ""
    has_ended_well = now.get("ActiveState") == "inactive" and now.get("Result") == "success"
    if has_ended_well and (now.get("Type") == "oneshot" or sockets_of_unit(now)):
        return ""
    result = str(now.get("Result", ""))
    why = f" ({result})" if result not in ("", "success") else ""
    return f"{unit} is not running: it is {now.get('ActiveState') or 'unknown'}{why}"


def restart_of(unit: str, now: Json, base: Json, base_ns: int) -> str:
    """How a unit shows that it was restarted between two looks; empty if it was not.

    A process that existed at the first look, at `base_ns` since boot, may become the main process:
    some services hand over when they are ready.
    """
    if now.get("Type") == "oneshot" or sockets_of_unit(now):
        return ""
    if now.get("InvocationID", "") != base.get("InvocationID", ""):
        return f"{unit} was restarted while its sites were verified"
    main = main_pid(now)
    if main != main_pid(base) and not (main and started_at(main) * TICK_NS <= base_ns):
        return (
            f"the main process of {unit} changed while its sites were verified: it was "
            f"{main_pid(base)}, and is {main_pid(now)}"
        )
    return ""
