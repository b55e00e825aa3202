"""Differences between a host and an earlier plan, as text without contents and secrets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from deployer.model import Attributes, Observation
from deployer.plan.model import Change, Plan
from deployer.plan.wire import shown_attributes


def stale_lines(plan: Plan, observations: Iterable[Observation]) -> tuple[str, ...]:
    """One line for each resource of `plan` that differs: the recorded and the current state.

    Args:
        observations: one for each change of the plan.
    """
    now = {seen.resource_id: seen for seen in observations}
    return tuple(
        f"{change.kind} {change.name}: {', '.join(_words(change, now[change.resource_id]))}"
        for change in plan.changes
        if now[change.resource_id].fingerprint != change.fingerprint
    )


def stale_text(lines: Sequence[str], *, named: Iterable[str] = ()) -> str:
    """`lines` with a title.

    If there are no lines, because the resources have changed back meanwhile, the ids in `named` are
    listed instead.
    """
    again = "changed briefly and is back to what the plan recorded"
    shown = lines or [f"{name.replace(':', ' ', 1)}: {again}" for name in named]
    return "\n".join(
        ["the host has changed since the plan was made:", *(f"    {each}" for each in shown)]
    )


def _words(change: Change, now: Observation) -> Iterator[str]:
    before, found = change.before, now.attributes
    if now.problem:
        yield f"can no longer be read: {now.problem}"
    elif found is None:
        yield "was removed"
    elif before is None:
        shown = shown_attributes(change, found) or {}
        details = ", ".join(_attribute(key, shown[key]) for key in shown if key != "sha256")
        yield "was created" + (f" ({details})" if details else "")
    else:
        yield from _differences(change, before, found)


def _differences(change: Change, before: Attributes, found: Attributes) -> Iterator[str]:
    """Each attribute that differs; secret values are not shown."""
    was, now = shown_attributes(change, before) or {}, shown_attributes(change, found) or {}
    keys = [key for key in dict.fromkeys((*before, *found)) if before.get(key) != found.get(key)]
    for key in keys:
        if key == "sha256":
            yield "content differs"
        elif key in was or key in now:
            yield f"was {_of(key, was)}, is {_of(key, now)}"
        else:
            yield f"{key} differs"
    if not keys:
        yield "differs"


def _of(key: str, attributes: Mapping[str, object]) -> str:
    return _attribute(key, attributes[key]) if key in attributes else f"without {key}"


def _attribute(key: str, value: object) -> str:
    """``active``, ``not enabled``, ``mode 0644``, ``12 bytes``."""
    if isinstance(value, bool):
        return key if value else f"not {key}"
    if value is None:
        return f"without {key}"
    if key == "size" and isinstance(value, int):
        return "1 byte" if value == 1 else f"{value:,} bytes"
    if isinstance(value, list | tuple):
        return f"{key} {' '.join(map(str, value)) or 'none'}"
    return f"{key} {value}"
