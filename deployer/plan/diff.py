"""A plan as lines of text: unified diffs of contents, one line for everything else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from posixpath import commonpath
from typing import Literal

from deployer.model import Attributes
from deployer.plan.forecast import by_place, forecast_words
from deployer.plan.model import Change, Forecast, HandlerRun, Plan
from deployer.plan.verbs import verbs
from deployer.plan.wire import SEEN_OF_SECRETS, as_text
from deployer.resources import differing
from deployer.text.pem import summarized

Style = Literal["create", "update", "delete", "add", "remove", "context", "hunk", "note"]
_SIGNS: dict[str, Style] = {"+": "add", "-": "remove", "@": "hunk", " ": "context"}
#: Attributes that the text of a secret change already includes.
_IN_WORDS = {"size", "done"}
#: Up to this many unchanged files of a new release are listed; more are only counted.
_NAMED_CARRIED = 3
_MARKS = {"create": "+", "update": "~", "delete": "-"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a shown plan with its style; `indent` counts levels."""

    style: Style
    text: str
    indent: int = 0


def plan_lines(plan: Plan, *, with_diff: bool = True) -> Iterator[Line]:
    """The changes and handlers of `plan`, stage by stage, then its unknowns."""
    changes = [change for change in plan.changes if change.action != "no-op"]
    stages = sorted({c.stage for c in changes} | {run.stage for run in plan.handlers})
    forecasts = by_place(plan)  # each is shown once, at its first cause
    for number, stage in enumerate(stages, 1):
        if len(stages) > 1:
            yield Line("hunk", f"stage {number} of {len(stages)}")
        of_stage = [change for change in changes if change.stage == stage]
        carried = [change for change in of_stage if _is_carried(change)]
        for change in of_stage:
            if len(carried) <= _NAMED_CARRIED or not _is_carried(change):
                yield from change_lines(change, with_diff=with_diff)
            elif change is carried[0]:
                yield _carried_line(carried)
            yield from _forecast_line(forecasts.pop(change.resource_id, None))
        for run in plan.handlers:
            if run.stage == stage:
                yield Line("update", f"! {handler_text(run)}")
                yield from _forecast_line(forecasts.pop(f"handler:{run.handler.name}", None))
    yield from _closing_lines(plan)


def _closing_lines(plan: Plan) -> Iterator[Line]:
    """Names that are removed, effects on other sites, and unknowns."""
    yield from _last_lines(plan)


def _last_lines(plan: Plan) -> Iterator[Line]:
    """What the plan removes, notes on the host, and what is unknown."""
    if plan.displaced:
        from deployer.plan.displaced import displaced_words

        yield from (Line("delete", f"- {displaced_words(each)}") for each in plan.displaced)
    for effect in plan.side_effects:
        yield Line("note", f"i {effect}")
    for note in plan.notes:
        yield Line("note", f"! {note}")
    for unknown in plan.unknowns:
        yield Line("note", f"? {unknown}")


def _forecast_line(forecast: Forecast | None) -> Iterator[Line]:
    if forecast is not None:
        yield Line("note", forecast_words(forecast), 1)


def _is_carried(change: Change) -> bool:
    """Whether a new file has the same content as its predecessor."""
    content = change.after_content
    return change.before is None and content is not None and change.before_content == content


def _carried_line(changes: Sequence[Change]) -> Line:
    folder = commonpath([change.name for change in changes])
    count = f"{len(changes):,} files in {folder}"
    return Line("create", f"+ {count}  (unchanged from the previous release)")


def change_lines(change: Change, *, with_diff: bool = True) -> Iterator[Line]:
    """The headline of a change with its changed attributes, its reason, and its diff."""
    if change.action == "no-op":
        return
    mark = _MARKS[change.action]
    details = ", ".join(_details(change))
    headline = f"{mark} {change.kind} {change.name}" + (f"  ({details})" if details else "")
    yield Line(change.action, headline)
    if change.reason and change.reason != change.name:
        yield Line("note", change.reason, 1)
    if with_diff and not change.secret:
        yield from _content_lines(change)


def handler_text(run: HandlerRun) -> str:
    """The handler and the reason why it runs."""
    if run.reason:
        return f"handler {run.handler.name}  (because {run.reason})"
    if not run.because:
        return f"handler {run.handler.name}  (because it was requested)"
    causes = [resource_id.partition(":")[2] for resource_id in run.because]
    shown = ", ".join(causes[:3]) + (f" and {len(causes) - 3} more" if len(causes) > 3 else "")
    verb = "change" if len(causes) > 1 else "changes"
    return f"handler {run.handler.name}  (because {shown} {verb})"


def _details(change: Change) -> Iterator[str]:
    before, after = change.before, change.after
    hidden = {"sha256"}
    if change.secret:
        yield _secret_text(change)
        hidden = {*(before or ()), *(after or ())} - (SEEN_OF_SECRETS - _IN_WORDS)
    if after is None:
        if (before or {}).get("type") == "directory" and not change.if_empty:
            yield "with its contents"
        return
    if change.kind == "certificate":
        yield from _certificate_words(before, after)
        return
    changed = tuple(after) if before is None else differing(after, before)
    if before is None and {"owner", "group"} <= set(changed):
        yield f"{after['owner']}:{after['group']}"
        hidden |= {"owner", "group"}
    if change.kind == "service":
        yield ", ".join(verbs(change.kind, change.action, before, after))
        hidden |= {"active", "enabled", "listens"}
    for key in changed:
        if key not in hidden and key != "type":
            yield _attribute_text(key, before, after)


def _certificate_words(before: Attributes | None, after: Attributes) -> Iterator[str]:
    """Why a certificate is ordered, its names, issuer and key type."""
    if before is not None:
        if before.get("due"):
            yield f"due, expires {before['not_after']}"
        for key in ("names", "directory", "key_type", "profile"):
            if before.get(key) != after.get(key):
                yield f"{key} {_word(key, before.get(key))} → {_word(key, after.get(key))}"
    else:
        yield f"for {_word('names', after['names'])}"
        yield f"from {after['directory']}"
        yield str(after["key_type"])
        if after.get("profile"):
            yield f"profile {after['profile']}"
    if after.get("serial"):
        yield f"{after['serial']}, from the controller"
    if after.get("staging_first"):
        yield "a first order is rehearsed with staging"
    if after.get("forced"):
        yield "renewal forced"


def _secret_text(change: Change) -> str:
    sizes = [
        _size(attributes["size"])
        for attributes in (change.before, change.after)
        if attributes is not None and "size" in attributes
    ]
    if not _content_differs(change):
        return "secret"
    changed = ["changed"] if change.action == "update" else []
    return ", ".join(["secret", " → ".join(sizes), *changed])


def _content_differs(change: Change) -> bool:
    return (change.before or {}).get("sha256") != (change.after or {}).get("sha256")


def _attribute_text(key: str, before: Attributes | None, after: Attributes) -> str:
    """An attribute as text: ``mode 0600 → 0644``, ``owner root``."""
    new = after[key]
    label = f"{key} " if key != "size" and not isinstance(new, bool) else ""
    if before is None or before.get(key) is None:
        return label + _word(key, new)
    return f"{label}{_word(key, before[key])} → {_word(key, new)}"


def _size(size_bytes: object) -> str:
    return "1 byte" if size_bytes == 1 else f"{size_bytes:,} bytes"


def _word(key: str, value: object) -> str:
    if isinstance(value, bool):
        return key if value else f"not {key}"
    if key == "size":
        return _size(value)
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(value)


def _content_lines(change: Change) -> Iterator[Line]:
    contents = (change.before_content, change.after_content)
    if contents == (None, None) or not _content_differs(change):
        return
    after = "" if change.after is None else as_text(change.after_content)
    is_new = change.before is None and change.before_content is None
    before = "" if is_new else as_text(change.before_content)
    if after is None or before is None:
        yield Line("note", "(no text to compare: binary, or larger than 1 MiB)", 1)
        return
    for text in text_diff(before, after):
        yield diff_line(text)


def diff_line(text: str, *, indent: int = 1) -> Line:
    """A line of `text_diff` with the style of its sign."""
    return Line(_SIGNS.get(text[:1], "context"), text, indent)


def text_diff(before: str, after: str) -> Iterable[str]:
    """A unified diff without its two header lines; each PEM block is one line."""
    from difflib import unified_diff

    old, new = summarized(before).splitlines(), summarized(after).splitlines()
    yield from list(unified_diff(old, new, lineterm="", n=3))[2:]
    if before and after and before.endswith("\n") != after.endswith("\n"):
        yield "\\ the final line break is " + ("removed" if before.endswith("\n") else "added")
