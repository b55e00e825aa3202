"""Handlers that a commit has left undone.

During a commit, its journal lists what has to run. What is still undone when it ends, other than by
a confirmation, is in a file for the next run."""

from __future__ import annotations

import os

from deployer.agent import settings
from deployer.agent.commit.journal import read_journal
from deployer.agent.encoding import canonical_json
from deployer.agent.errors import StepError
from deployer.agent.files import (
    look_at,
    now_text,
    read_json,
    read_record,
    sync_folder,
    write_synced,
)
from deployer.agent.loaded import is_reload_for
from deployer.agent.processes import (
    TICK_NS,
    boot_id,
    main_pid,
    processes_of,
    start_ns,
    started_at,
    uptime_ns,
)
from deployer.agent.services import Systemd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.children import Children
    from deployer.agent.settings import Json

_OWED_ACTIONS = ("reload", "restart")
_HANDLER_KEYS = ("name", "action", "unit", "config_test")


def _all_owed() -> list[Json]:
    """The recorded handlers; a later boot has made every process read its files."""
    noted = (read_json(settings.OWED) or {}).get("owed", [])
    return [item for item in noted if item["boot_id"] == boot_id()]


def _write_owed(owed: list[Json]) -> None:
    if owed:
        write_synced(settings.OWED, canonical_json({"owed": owed}))
    elif look_at(settings.OWED) is not None:
        os.unlink(settings.OWED)
    else:
        return
    sync_folder(settings.STATE)


def note_owed(handlers: list[Json], folder: str) -> None:
    """Record that `handlers` of the commit in `folder` still have to run; those recorded already
    keep their dates. Only handlers that reload or restart a unit count.

    Raises:
        OSError: it cannot be written.
    """
    meta = read_json(os.path.join(folder, "meta.json")) or {}
    owed = _all_owed()
    known = [item["handler"] for item in owed]
    for given in handlers:
        handler = {key: given[key] for key in _HANDLER_KEYS if given.get(key)}
        if handler["action"] in _OWED_ACTIONS and handler not in known:
            known.append(handler)
            about = {key: meta.get(key, "") for key in ("commit", "who", "from")}
            times = {"since": now_text(), "since_ns": uptime_ns(), "boot_id": boot_id()}
            owed.append({"handler": handler, **about, **times})
    if handlers:
        _write_owed(owed)


def settle_owed(handler: Json) -> None:
    """Remove what a successful handler has done; a restart includes a reload."""
    action, unit = handler["action"], handler.get("unit", "")
    if action not in _OWED_ACTIONS or look_at(settings.OWED) is None:
        return
    settled = (action,) if action == "reload" else _OWED_ACTIONS
    owed = [
        item
        for item in _all_owed()
        if item["handler"]["unit"] != unit or item["handler"]["action"] not in settled
    ]
    try:
        _write_owed(owed)
    except OSError:
        pass  # the start of the processes shows it too


def owed_by(folder: str) -> list[Json]:
    """The handlers that a revert of the commit in `folder` would still have to run, if its records
    can be read."""
    try:
        events = read_journal(folder)
        plan = read_record(folder, "plan.json", events[0].get("plan"))
    except StepError:
        return []
    if any(event["event"] == "services-back" for event in events):
        return []  # the revert itself has recorded those that failed
    begun = {event.get("resource_id") for event in events if event["event"] == "intent"}
    ran = {event.get("name") for event in events if event["event"] == "handler"}
    return [
        run["handler"]
        for run in plan["handlers"]
        if run["handler"]["name"] in ran or is_reload_for(run, begun)
    ]


def owed_now(children: Children) -> list[Json]:
    """The recorded handlers that are still due: the unit runs and has not read its files since."""
    owed = _all_owed()
    if not owed or not os.path.isdir(settings.SYSTEMD_RUNS):
        return []
    asked = dict.fromkeys(item["handler"]["unit"] for item in owed)
    try:
        units = Systemd(children).show(list(asked))
    except StepError:
        return []  # without systemctl nothing can be reloaded either
    return [
        {key: item[key] for key in ("handler", "since", "commit", "who", "from")}
        for item in owed
        if _is_still_owed(item, units[item["handler"]["unit"]])
    ]


def _is_still_owed(item: Json, shown: Json) -> bool:
    if shown.get("ActiveState") not in ("active", "reloading"):
        return False  # it reads its files when it starts
    main = main_pid(shown)
    running = processes_of(main)
    if running is not None and item["handler"]["action"] == "reload":
        return bool(start_ns(running) - TICK_NS <= item["since_ns"])
    return bool(started_at(main) * TICK_NS <= item["since_ns"])
