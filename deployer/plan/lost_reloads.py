"""Lost reloads: files that a running proxy has not loaded, although this plan does not change them.

Someone copied files without a reload, a reload was rejected without an error, or an earlier run did
not complete it. The agent reports the files that are not loaded; this module adds the handlers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from deployer.model import Handler, Observation, Resource
from deployer.plan.model import HandlerRun, Owed

#: Kinds whose content a proxy reads; a folder's timestamp does not show which files were read.
_READ_KINDS = ("file", "link")
_MAKES_READ = ("reload", "restart")
_NAMED = 3


def loaded_requests(
    resources: Sequence[Resource], handlers: Mapping[str, Handler]
) -> list[dict[str, object]]:
    """The probe requests about running proxies, each with the files whose changes reload it."""
    files: dict[str, list[str]] = {}
    for handler in _proxy_reloads(handlers):
        names = files.setdefault(handler.unit, [])
        names += [resource.name for resource in _read_by(handler, resources)]
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
    """The handlers that must run in addition to those `notified` by changes.

    A unit that is reloaded or restarted anyway, or that should be stopped, needs none.
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
                    reason=_stale_text(handler.unit, stale, observations),
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
    """The handlers that reload a proxy: only those have a config test."""
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
    """Units that should be stopped: a reload would start them."""
    for resource in resources:
        if resource.kind == "service" and not (resource.attributes or {}).get("active", True):
            yield resource.name


def _stale_text(
    unit: str, stale: Sequence[Resource], observations: Mapping[str, Observation]
) -> str:
    gone = [one.name for one in stale if observations[one.id].attributes is None]
    there = [one.name for one in stale if one.name not in gone]
    words = []
    if there:
        words.append(f"an older {_listed(there)}")
    if gone:
        words.append(f"the deleted {_listed(gone)}")
    return f"{unit} still runs with {' and '.join(words)}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _with_owed(item: Owed, run: HandlerRun | None, *, stage: int) -> HandlerRun:
    """The owed handler; if `run` is needed too, one of them with both reasons, a restart if any."""
    words = f"pending since {item.since} from the run of {item.who} from {item.origin}"
    if run is None:
        return HandlerRun(handler=item.handler, stage=stage, because=(), reason=words)
    handler = item.handler if item.handler.action == "restart" else run.handler
    return HandlerRun(
        handler=handler, stage=stage, because=run.because, reason=f"{words}, and {run.reason}"
    )
