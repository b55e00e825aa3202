"""Files that someone changed and a proxy has not loaded: the reload of a plan loads them. Pure.

No rollback can undo that, as the former files are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from posixpath import normpath

from deployer.plan.forecast import effects
from deployer.plan.model import Plan
from deployer.proxies import PROXIES
from deployer.proxies.inspect.model import ProxyState

_LISTED = 3
#: Workers are started a moment after the files were read; hosts count in hundredths of a second.
_SLACK_S = 2.0


def not_loaded(states: Iterable[ProxyState], plan: Plan) -> Iterator[str]:
    """A note for each proxy that loads such files because of `plan`, which knows of none."""
    affected = effects(plan)
    known = {run.handler.unit for run in plan.handlers if run.reason}
    written = {normpath(change.name) for change in plan.changes if change.action != "no-op"}
    for state in states:
        server = PROXIES[state.proxy]
        unit = state.unit.removesuffix(".service") or server.unit
        loaded_s = state.accepted_reload_s_ago
        if affected.get(unit) not in ("reload", "restart") or unit in known or loaded_s is None:
            continue
        changed = [
            each.path
            for each in state.config
            if each.changed_s_ago is not None
            and each.changed_s_ago + _SLACK_S < loaded_s
            and written.isdisjoint((each.path, each.real_path))
        ]
        if changed:
            more = f" and {len(changed) - _LISTED} more" if len(changed) > _LISTED else ""
            yield (
                f"{server.title} has not loaded {', '.join(changed[:_LISTED])}{more} since"
                f" {'it was' if len(changed) == 1 else 'they were'} changed: this plan's"
                f" {affected[unit]} does, and a rollback cannot undo it"
            )
