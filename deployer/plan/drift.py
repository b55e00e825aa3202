"""What of a host is no longer as a plan saw it, in words without contents and secrets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from deployer.model import Attributes, Observation
from deployer.plan.model import Change, Plan
from deployer.plan.wire import shown_attributes


def stale_lines(plan: Plan, observations: Iterable[Observation]) -> tuple[str, ...]:
    """One line for each resource of `plan` that differs: what the plan saw, and what is there now.

    Args:
        observations: one for each of the plan's changes, by the resource's id.
    """
    now = {seen.resource_id: seen for seen in observations}
    return tuple(
        f"{change.kind} {change.name}: {', '.join(_words(change, now[change.resource_id]))}"
        for change in plan.changes
        if now[change.resource_id].fingerprint != change.fingerprint
    )


def stale_words(lines: Sequence[str], *, named: Iterable[str] = ()) -> str:
    """`lines` with what they are about; the ids that are `named` where there are no lines, since
    all is by now as it was again."""
    again = "was another one for a moment, and is again what the plan saw"
    told = lines or [f"{name.replace(':', ' ', 1)}: {again}" for name in named]
    return "\n".join(
        ["the host is no longer what the plan saw:", *(f"    {each}" for each in told)]
    )


def _words(change: Change, now: Observation) -> Iterator[str]:
    before, found = change.before, now.attributes
    if now.problem:
        yield f"cannot be looked at any more: {now.problem}"
    elif found is None:
        yield "was there, and is gone"
    elif before is None:
        shown = shown_attributes(change, found) or {}
        details = ", ".join(_attribute(key, shown[key]) for key in shown if key != "sha256")
        yield "was not there, and is there now" + (f" ({details})" if details else "")
    else:
        yield from _differences(change, before, found)


def _differences(change: Change, before: Attributes, found: Attributes) -> Iterator[str]:
    """Each attribute that is another one now; what is secret in it is not said."""
    was, now = shown_attributes(change, before) or {}, shown_attributes(change, found) or {}
    keys = [key for key in dict.fromkeys((*before, *found)) if before.get(key) != found.get(key)]
    for key in keys:
        if key == "sha256":
            yield "its content is another one"
        elif key in was or key in now:
            yield f"was {_of(key, was)}, is {_of(key, now)}"
        else:
            yield f"its {key} is another one"
    if not keys:
        yield "is not what it was"


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
