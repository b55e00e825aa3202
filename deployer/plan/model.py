"""A plan as a value: the changes to one host, the handlers they notify, and the forecasts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deployer.model import Attributes, Document, Handler, Proxy

Action = Literal["create", "update", "delete", "no-op"]
ForecastAction = Literal["reload", "restart", "stop"]

PLAN_FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The change of one resource from `before` to `after`, with its reason.

    A folder is only deleted `if_empty`, or else with all its contents.
    """

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
    if_empty: bool = False

    @property
    def kind(self) -> str:
        return self.resource_id.partition(":")[0]

    @property
    def name(self) -> str:
        return self.resource_id.partition(":")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerRun:
    """A handler that runs at the end of `stage`, `because` of the resources with these ids.

    `reason` explains why it runs if it is not because of a change.
    """

    handler: Handler
    stage: int
    because: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """A pending handler, which the run of `who` from `origin` did not complete at `since`."""

    handler: Handler
    since: str
    who: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The effect on the `connections` (WebSockets) that the proxy of `unit` currently has open.

    A reload leaves them on `workers` old workers for at most `drain_s` (`None`: no limit); a
    restart or stop ends them.
    """

    unit: str
    action: ForecastAction
    connections: int
    workers: int
    drain_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Displaced:
    """A name that a proxy serves now and would not serve after the plan.

    `name` is as configured, empty for a default server; `where` is the place of its configuration.
    `is_expected`: the run removes it on purpose. `is_consented`: the user agreed to lose it.
    """

    name: str
    proxy: Proxy
    ports: tuple[int, ...] = ()
    where: str = ""
    is_expected: bool = False
    is_consented: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All changes that an apply would make to one host, in order.

    `unknowns` are texts about what a dry run cannot know; `created_at` is in RFC 3339; `digest`
    covers everything except itself, and `forecasts`, `displaced`, `side_effects`, `notes` and
    `left_over`, which are only valid for a moment. `side_effects` are texts about other sites that
    keep working, `notes` about processes that have the ports of services. `left_over` is what the
    playbook no longer names: ``resource_id``, ``since``, ``site``, and whether it ``stays``.
    """

    host: str
    created_at: str
    changes: tuple[Change, ...]
    handlers: tuple[HandlerRun, ...] = ()
    unknowns: tuple[str, ...] = ()
    digest: str = ""
    format_version: int = PLAN_FORMAT_VERSION
    forecasts: tuple[Forecast, ...] = ()
    displaced: tuple[Displaced, ...] = ()
    side_effects: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left_over: tuple[Document, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return all(change.action == "no-op" for change in self.changes) and not self.handlers
