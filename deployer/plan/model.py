"""A plan as a value: the changes to one host, the handlers they notify, and the forecasts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deployer.model import Attributes, Handler

Action = Literal["create", "update", "delete", "no-op"]
ForecastAction = Literal["reload", "restart", "stop"]

PLAN_FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What an apply does to one resource: from `before` to `after`, and why."""

    resource_id: str
    action: Action
    before: Attributes | None
    after: Attributes | None
    fingerprint: str
    before_content: bytes | None = None
    after_content: bytes | None = None
    secret: bool = False
    stage: int = 0
    reason: str = ""

    @property
    def kind(self) -> str:
        return self.resource_id.partition(":")[0]

    @property
    def name(self) -> str:
        return self.resource_id.partition(":")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerRun:
    """A handler that will run at the end of `stage`, and the ids of the resources that ask it.

    `reason` says in words why it runs although none of them changes.
    """

    handler: Handler
    stage: int
    because: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """A handler that an earlier run left undone at `since`, and whose run that was."""

    handler: Handler
    since: str
    who: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What becomes of the `connections` (WebSockets) that the proxy of `unit` has open now.

    A reload leaves them to `workers` old workers, for `drain_s` at most (`None`: without end); a
    restart or stop ends them.
    """

    unit: str
    action: ForecastAction
    connections: int
    workers: int
    drain_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that an apply would do to one host, in order. `unknowns` says in words what a dry run
    cannot know; `created_at` is in RFC 3339; `digest` covers everything but itself and `forecasts`,
    which are of the moment."""

    host: str
    created_at: str
    changes: tuple[Change, ...]
    handlers: tuple[HandlerRun, ...] = ()
    unknowns: tuple[str, ...] = ()
    digest: str = ""
    format_version: int = PLAN_FORMAT_VERSION
    forecasts: tuple[Forecast, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return all(change.action == "no-op" for change in self.changes) and not self.handlers
