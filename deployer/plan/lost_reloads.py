"""Reloads that were lost: what a running proxy has not loaded though no file of it changes now.

Someone copied files and did not reload, a reload was refused silently, or a run left one undone.
The runner tells what the running proxy has not loaded; here stands what follows for a plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from deployer.model import Handler, Observation, Resource
from deployer.plan.model import HandlerRun, Owed

#: Kinds whose content a proxy reads; a folder's time tells nothing of what is read in it.
_READ_KINDS = ("file", "link")
_MAKES_READ = ("reload", "restart")
_NAMED = 3


def loaded_questions(
    resources: Sequence[Resource], handlers: Mapping[str, Handler]
) -> list[dict[str, Any]]:
    """What a probe asks about running proxies: of each, the files whose changes reload it."""
    files: dict[str, list[str]] = {}
    for handler in _proxy_reloads(handlers):
        asked = files.setdefault(handler.unit, [])
        asked += [resource.name for resource in _read_by(handler, resources)]
    return [
        {
            "id": _id(unit),
            "kind": "loaded",
            "name": unit,
            "query": {"files": list(dict.fromkeys(names))},
        }
        for unit, names in files.items()
        if names
    ]


def lost_reloads(
    resources: Sequence[Resource],
    handlers: Mapping[str, Handler],
    observations: Mapping[str, Observation],
    *,
    notified: Sequence[HandlerRun],
    owed: Sequence[Owed],
) -> tuple[HandlerRun, ...]:
    """The handlers that must run although no change asks for them (`notified` are those asked).

    A unit that is reloaded or restarted anyway, or that shall not run, needs none.
    """
    settled = {run.handler.unit for run in notified if run.handler.action in _MAKES_READ}
    settled |= set(_stopped(resources))
    runs: dict[str, HandlerRun] = {}
    for handler in _proxy_reloads(handlers):
        stale = _not_loaded(handler, resources, observations)
        if stale and handler.unit not in settled:
            runs.setdefault(
                handler.unit,
                HandlerRun(
                    handler=handler,
                    stage=max(resource.stage for resource in stale),
                    because=tuple(resource.id for resource in stale),
                    reason=_stale_words(handler.unit, stale, observations),
                ),
            )
    last_stage = max((resource.stage for resource in resources), default=0)
    for item in owed:
        unit = item.handler.unit
        if unit not in settled:
            runs[unit] = _with_owed(item, runs.get(unit), stage=last_stage)
    return tuple(sorted(runs.values(), key=lambda run: run.stage))


def _id(unit: str) -> str:
    return f"loaded:{unit}"


def _proxy_reloads(handlers: Mapping[str, Handler]) -> Iterator[Handler]:
    """The reloads that a proxy's own check stands before: only a proxy has one."""
    for handler in handlers.values():
        if handler.action == "reload" and handler.unit and handler.config_test:
            yield handler


def _read_by(handler: Handler, resources: Sequence[Resource]) -> Iterator[Resource]:
    for resource in resources:
        if resource.kind in _READ_KINDS and handler.name in resource.notify:
            yield resource


def _not_loaded(
    handler: Handler, resources: Sequence[Resource], observations: Mapping[str, Observation]
) -> list[Resource]:
    seen = observations.get(_id(handler.unit))
    names = set((seen.attributes or {}).get("not_loaded", ())) if seen else set()
    return [resource for resource in _read_by(handler, resources) if resource.name in names]


def _stopped(resources: Iterable[Resource]) -> Iterator[str]:
    """Units that are not to run: a reload would start them."""
    for resource in resources:
        if resource.kind == "service" and not (resource.attributes or {}).get("active", True):
            yield resource.name


def _stale_words(
    unit: str, stale: Sequence[Resource], observations: Mapping[str, Observation]
) -> str:
    gone = [one.name for one in stale if observations[one.id].attributes is None]
    there = [one.name for one in stale if one.name not in gone]
    words = []
    if there:
        words.append(f"an older {_listed(there)}")
    if gone:
        words.append(f"{_listed(gone)}, which {'is' if len(gone) == 1 else 'are'} gone")
    return f"{unit} still runs with {' and '.join(words)}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _with_owed(item: Owed, run: HandlerRun | None, *, stage: int) -> HandlerRun:
    """The owed handler; where it must run anyway, with both reasons. A restart does for both."""
    words = f"it is owed since {item.since} by the run of {item.who} from {item.origin}"
    if run is None:
        return HandlerRun(handler=item.handler, stage=stage, because=(), reason=words)
    handler = item.handler if item.handler.action == "restart" else run.handler
    return HandlerRun(
        handler=handler, stage=stage, because=run.because, reason=f"{words}, and {run.reason}"
    )
