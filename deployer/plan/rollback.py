"""Roll back to an earlier confirmed generation: its recorded state becomes the desired state.

With each generation the host keeps the previous state of everything that was changed. Combined from
the newest generation backwards, that is a desired state like any other: it is probed, planned,
shown, applied, verified and confirmed, and becomes a new generation.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from deployer.model import Resource
from deployer.plan.desired import DesiredState
from deployer.plan.wire import handler_from_json
from deployer.resources import holds_private_key
from deployer.sites.document import sites_from_json

if TYPE_CHECKING:
    from deployer.agent.replies import FormerResource, UndoReply


def former_state(reply: UndoReply) -> DesiredState:
    """The desired state in the agent's reply to ``undo`` (docs/reference/protocol.md).

    The sites are those of that generation. Secrets in their checks are not in the reply, and their
    roots are added by the caller.
    """
    handlers = {item["name"]: handler_from_json(item) for item in reply["handlers"]}
    notify = tuple(handlers)
    return DesiredState(
        resources=tuple(_resource(item, notify) for item in reply["resources"]),
        handlers=handlers,
        sites=sites_from_json(reply["sites"]),
        rolls_back_to=reply["to"],
    )


def _resource(item: FormerResource, notify: tuple[str, ...]) -> Resource:
    given = item.get("content_b64")
    content = None if given is None else base64.b64decode(given)
    return Resource(
        kind=item["kind"],
        name=item["name"],
        attributes=item["attributes"],
        content=content,
        notify=notify if item["kind"] in ("file", "link") else (),
        secret=bool(item.get("secret")) or holds_private_key(content),
        reason=f"as generation {item['generation']} found it",
    )
