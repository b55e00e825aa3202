"""The attempts made for one check: a plain value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deployer.verify.planned.follow_ups import FollowUp
from deployer.verify.probe.attempt import Attempt

if TYPE_CHECKING:
    from deployer.verify.discovery.known import KnownService


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """The attempts made for one check; `peer` and `plain` are `None` unless they were needed.

    `follow_ups` are those of a failed check (`planned/follow_ups.py`), by name. `service` is what
    the page of a service that fails shows about it.
    """

    main: Attempt
    peer: Attempt | None = None
    plain: Attempt | None = None
    follow_ups: Mapping[FollowUp, Attempt] = field(default_factory=dict)
    service: KnownService | None = None
