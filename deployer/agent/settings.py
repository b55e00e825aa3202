"""Paths, limits, and the names that more than one module needs.

Paths are read as ``settings.STATE``, so that `configure` works at any time; it is meant for tests
and for the loader, before a request is served.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # importing typing takes 3 ms
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]
    Entry = dict[str, Any]
    Manifest = dict[str, Entry]

STATE: str
ETC: str
VAR_LIB: str
CACHE: str
#: How often the agent sends a sign of life.
ALIVE_EVERY_S: float
#: False: commits are made without a watchdog.
WATCHDOG: bool
#: False: proxies load configurations without the checks of `proxies.readiness`, so that tests can
#: see what happens then.
READINESS: bool
#: A folder that exists if systemd is the init system: sd_booted(3).
SYSTEMD_RUNS: str

UNITS: str
BOOT_WANTS: str
BOOT_UNIT: str
BOOT_LINK: str
#: All that the unit for the next boot consists of, finished or not.
BOOT_UNIT_FILES: tuple[str, ...]
#: The program of the watchdog and of the boot unit, and the one that earlier versions left.
WATCHDOG_PROGRAM: str
OLD_WATCHDOG_PROGRAM: str
WATCHDOG_PROGRAMS: tuple[str, ...]
IMAGES: str
OWED: str
LOADED: str
JOURNAL_MARK: str
PULSE: str

BOOT_NAME = "deployer-revert.service"
#: The copy of the agent in the folder of a commit.
COMMIT_PROGRAM = "agent.pyz"
#: The file that reserves disk space for a revert.
RESERVE = "reserve"
UNKNOWN_COMMIT = "unknown"

PROTOCOL = 1
MAX_MESSAGE_BYTES = 64 << 20
CHUNK_BYTES = 1 << 16
SHOWN_BYTES = 1 << 20
OUTPUT_TAIL_BYTES = 16 << 10

CHILD_LIMIT_S = 60.0
COMMAND_LIMIT_S = 600.0
PACKAGE_LIMIT_S = 1800.0


_DEFAULTS: Json = {
    "state": "/var/lib/deployer",
    "etc": "/etc",
    "var_lib": "/var/lib",
    "cache": "/run/deployer",
    "alive_every_s": 5.0,
    "watchdog": True,
    "readiness": True,
    "systemd": "/run/systemd/system",
}


def configure(**given: Any) -> None:
    """Set all of the above: `given`, by the names of `_DEFAULTS`, and defaults for the rest."""
    unknown = set(given) - set(_DEFAULTS)
    if unknown:
        raise TypeError(f"unknown settings: {sorted(unknown)}")
    chosen = {**_DEFAULTS, **given}
    state, etc, cache = chosen["state"], chosen["etc"], chosen["cache"]
    units = os.path.join(etc, "systemd/system")
    wants = os.path.join(units, "multi-user.target.wants")
    program, old_program = os.path.join(state, "watchdog.pyz"), os.path.join(state, "watchdog.py")
    unit, link = os.path.join(units, BOOT_NAME), os.path.join(wants, BOOT_NAME)
    globals().update(
        STATE=state,
        ETC=etc,
        VAR_LIB=chosen["var_lib"],
        CACHE=cache,
        ALIVE_EVERY_S=chosen["alive_every_s"],
        WATCHDOG=chosen["watchdog"],
        READINESS=chosen["readiness"],
        SYSTEMD_RUNS=chosen["systemd"],
        UNITS=units,
        BOOT_WANTS=wants,
        BOOT_UNIT=unit,
        BOOT_LINK=link,
        BOOT_UNIT_FILES=(link, unit, unit + ".new"),
        WATCHDOG_PROGRAM=program,
        OLD_WATCHDOG_PROGRAM=old_program,
        WATCHDOG_PROGRAMS=(program, old_program),
        IMAGES=os.path.join(state, "images"),
        OWED=os.path.join(state, "owed.json"),
        LOADED=os.path.join(cache, "loaded"),
        JOURNAL_MARK=os.path.join(cache, "journal.json"),
        PULSE=os.path.join(cache, "pulse.json"),
    )


configure()
