"""Plans as versioned JSON: for the agent, for ``--json``, and for the digest."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any

from deployer.model import Document, Handler, Observation
from deployer.plan.model import Change, Displaced, Forecast, HandlerRun, Owed, Plan

if TYPE_CHECKING:
    from deployer.agent.replies import HandlerRecord, ObservationReply, OwedHandler

_SHOWN_BYTES = 1 << 20

#: The attributes of a secret resource that may be shown; none of them contains free text.
SEEN_OF_SECRETS = frozenset(
    ("type", "size", "mode", "owner", "group", "version", "enabled", "active", "done", "uid")
)


def sealed(plan: Plan) -> Plan:
    """`plan` with its digest: SHA-256 of its canonical JSON without the digest."""
    document = plan_to_json(plan)
    del document["digest"]
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    data = text.encode("utf-8", "surrogatepass")  # names on a host may be invalid Unicode
    return dataclasses.replace(plan, digest=hashlib.sha256(data).hexdigest())


def plan_to_json(plan: Plan) -> dict[str, object]:
    """A plan as sent to the agent (docs/reference/protocol.md), with the content of every file."""
    return {
        "format_version": plan.format_version,
        "host": plan.host,
        "created_at": plan.created_at,
        "changes": [_change_to_json(change) for change in plan.changes],
        "handlers": [_handler_run_to_json(run) for run in plan.handlers],
        "unknowns": list(plan.unknowns),
        "digest": plan.digest,
    }


def plan_from_json(document: Document) -> Plan:
    """The plan in a document of `plan_to_json`; it does not contain the previous contents."""
    return Plan(
        host=document["host"],
        created_at=document["created_at"],
        changes=tuple(map(_change_from_json, document["changes"])),
        handlers=tuple(map(_handler_run_from_json, document["handlers"])),
        unknowns=tuple(document["unknowns"]),
        digest=document["digest"],
        format_version=document["format_version"],
    )


def _change_from_json(document: Document) -> Change:
    fields = {key: value for key, value in document.items() if key != "after_content_b64"}
    content = document.get("after_content_b64")
    return Change(**fields, after_content=None if content is None else base64.b64decode(content))


def _handler_run_from_json(document: Document) -> HandlerRun:
    handler = document["handler"]
    lists = {key: tuple(handler[key]) for key in ("argv", "config_test")}
    return HandlerRun(
        **{
            **document,
            "handler": Handler(**{**handler, **lists}),
            "because": tuple(document["because"]),
        }
    )


def plan_for_output(plan: Plan) -> dict[str, object]:
    """A plan for ``--json``: with plain texts for a diff, and without secrets."""
    document = plan_to_json(plan)
    document["changes"] = [_shown_change(change) for change in plan.changes]
    if plan.displaced:
        document["displaced"] = [_shown_displaced(each) for each in plan.displaced]
    if plan.side_effects:
        document["side_effects"] = list(plan.side_effects)
    if plan.notes:
        document["notes"] = list(plan.notes)
    if plan.left_over:
        document["left_over"] = [dict(each) for each in plan.left_over]
    if plan.forecasts:
        document["forecasts"] = [_shown_forecast(forecast) for forecast in plan.forecasts]
    return document


def _shown_forecast(forecast: Forecast) -> dict[str, object]:
    from deployer.plan.forecast import forecast_words

    return {**dataclasses.asdict(forecast), "words": forecast_words(forecast)}


def _shown_displaced(displaced: Displaced) -> dict[str, object]:
    from deployer.plan.displaced import displaced_words

    return {**dataclasses.asdict(displaced), "words": displaced_words(displaced)}


def _change_to_json(change: Change) -> dict[str, Any]:
    document = {
        "resource_id": change.resource_id,
        "action": change.action,
        "before": change.before,
        "after": change.after,
        "fingerprint": change.fingerprint,
        "stage": change.stage,
        "reason": change.reason,
        "secret": change.secret,
    }
    if change.if_empty:
        document["if_empty"] = True
    if change.after_content is not None:
        document["after_content_b64"] = base64.b64encode(change.after_content).decode()
    return document


def _shown_change(change: Change) -> dict[str, Any]:
    document = {
        "resource_id": change.resource_id,
        "action": change.action,
        "before": shown_attributes(change, change.before),
        "after": shown_attributes(change, change.after),
        "stage": change.stage,
        "reason": change.reason,
        "secret": change.secret,
    }
    if not change.secret and change.action != "no-op":
        for side, content in (("before", change.before_content), ("after", change.after_content)):
            text = as_text(content)
            if text is not None:
                document[f"{side}_content"] = text
    return document


def shown_attributes(change: Change, attributes: Any) -> dict[str, object] | None:
    """The attributes that may be shown; not the hash of a secret, which can reveal a short one."""
    if attributes is None or not change.secret:
        return attributes if attributes is None else dict(attributes)
    return {key: value for key, value in attributes.items() if key in SEEN_OF_SECRETS}


def as_text(content: bytes | None) -> str | None:
    """`content` as text for a diff; `None` if it is missing, binary or too large."""
    if content is None or len(content) > _SHOWN_BYTES or b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _handler_run_to_json(run: HandlerRun) -> dict[str, object]:
    document = {
        "stage": run.stage,
        "because": list(run.because),
        "handler": _handler_to_json(run.handler),
    }
    return {**document, "reason": run.reason} if run.reason else document


def _handler_to_json(handler: Handler) -> dict[str, object]:
    return {
        "name": handler.name,
        "action": handler.action,
        "unit": handler.unit,
        "argv": list(handler.argv),
        "config_test": list(handler.config_test),
    }


def handler_from_json(document: HandlerRecord | Document) -> Handler:
    """A handler in a reply of the agent."""
    return Handler(
        name=document["name"],
        action=document["action"],
        unit=document.get("unit", ""),
        argv=tuple(document.get("argv", ())),
        config_test=tuple(document.get("config_test", ())),
    )


def owed_from_json(document: OwedHandler) -> Owed:
    """One item of ``owed`` in the agent's reply to ``facts``."""
    return Owed(
        handler=handler_from_json(document["handler"]),
        since=document["since"],
        who=document["who"],
        origin=document["from"],
    )


def observation_from_json(document: ObservationReply) -> Observation:
    """One observation in the agent's reply to a probe."""
    content = document.get("content_b64")
    return Observation(
        resource_id=document["id"],
        attributes=document["attributes"],
        fingerprint=document["fingerprint"],
        content=None if content is None else base64.b64decode(content),
        like_former=document.get("like_former", False),
        entries=tuple(document.get("entries", ())),
        problem=document.get("problem", ""),
        unsafe=document.get("unsafe", ""),
    )
