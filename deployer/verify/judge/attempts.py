"""The attempts made for one check: a plain value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deployer.verify.planned.follow_ups import FollowUp
from deployer.verify.probe.attempt import Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """The attempts made for one check; `peer` and `plain` are `None` unless they were needed.

    `follow_ups` are those of a failed check (`planned/follow_ups.py`), by name.
    """

    main: Attempt
    peer: Attempt | None = None
    plain: Attempt | None = None
    follow_ups: Mapping[FollowUp, Attempt] = field(default_factory=dict)
