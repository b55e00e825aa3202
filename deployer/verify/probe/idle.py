"""One connection that waits in silence: what ends it, or keeps it awake, and when.

Nothing is sent but what RFC 6455 demands, pongs to the service's pings. A hop counts from the last
byte that went through it in either direction, and so do we.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from deployer.errors import DeployerError
from deployer.model import Hop
from deployer.verify.net.access import Access, translate_errors
from deployer.verify.net.http1 import read_head, request
from deployer.verify.net.stream import Cancelled, Deadline, send
from deployer.verify.net.websocket import OpeningHandshake, WebSocket
from deployer.verify.probe.attempt import Failure
from deployer.verify.probe.spec import UpgradeProbe

_SLICE_S = 0.25
#: What comes so soon belongs to the beginning, as a greeting does.
_BEGINNING_S = 1.0
#: So many signs of life in a row, and what lies between them is the service's interval.
_SIGNS = 3
_ALIKE = 1.5
_KEPT_SIGNS = 200

Outcome = Literal["cut", "open", "kept-awake", "failed", "skipped", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleOutcome:
    """What one hop did with a silent connection.

    ``cut`` after `seconds` of silence, as `words` say; ``open`` after so many still; ``kept-awake``
    by the service, every `interval_s`; ``failed`` to open, ``skipped``: `words` say why.
    `interval_s` is `None` where the service said nothing by itself, or not regularly; `signs` is
    how often it did. `close_code` is that of a Close frame, which only a service sends.
    """

    hop: Hop
    outcome: Outcome
    seconds: float = 0.0
    words: str = ""
    interval_s: float | None = None
    signs: int = 0
    close_code: int | None = None


@dataclass(slots=True)
class IdleConnection:
    """A connection while it waits; others look at it from their threads.

    `expected_s` is how long a silence is waited for, unless `is_needed` says no before; `limit_s`
    how long is waited in all, for a service that speaks now and then.
    """

    hop: Hop
    probe: UpgradeProbe
    expected_s: float
    limit_s: float = math.inf
    result: IdleOutcome | None = None
    quiet_since: float = field(default_factory=time.monotonic)
    signs: list[float] = field(default_factory=list)

    def wait(self, access: Access, *, is_needed: Callable[[IdleConnection], bool]) -> IdleOutcome:
        """Open the connection and wait.

        Raises: `DeployerError` where the way to the host is lost.
        """
        try:
            self.result = self._waited(access, is_needed)
        except Cancelled:
            self.result = IdleOutcome(
                hop=self.hop, outcome="interrupted", seconds=time.monotonic() - self.quiet_since
            )
        except DeployerError:
            raise
        except Exception as error:  # no peer may get us to crash
            words = f"could not be waited on: {type(error).__name__}: {error}"
            self.result = IdleOutcome(hop=self.hop, outcome="failed", words=words)
        return self.result

    def _waited(self, access: Access, is_needed: Callable[[IdleConnection], bool]) -> IdleOutcome:
        probe = self.probe
        try:
            with access.connect(
                probe.endpoint, server_name=probe.server_name, timings_s={}
            ) as stream:
                opening = OpeningHandshake(subprotocols=probe.subprotocols)
                deadline = access.step()
                with translate_errors("the handshake", access.timeout_s):
                    asked = request(probe.target, (*probe.headers, *opening.headers))
                    send(stream, asked, deadline)
                    head = read_head(stream, deadline)
                    if head.status_code != 101:
                        raise Failure("status", head.words)
                websocket = opening.complete(stream, head)
                if probe.send is not None:
                    with translate_errors("a message", access.timeout_s):
                        websocket.send_text(probe.send, access.step())
                return self._silent(websocket, access, is_needed)
        except Failure as failure:
            return IdleOutcome(hop=self.hop, outcome="failed", words=failure.words)

    def _silent(
        self, websocket: WebSocket, access: Access, is_needed: Callable[[IdleConnection], bool]
    ) -> IdleOutcome:
        began = self.quiet_since = time.monotonic()
        while True:
            try:
                with translate_errors("the silence", self.expected_s):
                    self._hear(websocket, access, began)
            except Failure as failure:
                lasted = time.monotonic() - self.quiet_since
                return self._ended("cut", lasted, failure.words, failure.close_code)
            lasted = time.monotonic() - self.quiet_since
            if self.interval_s is not None:
                websocket.close(access.until)
                return self._ended("kept-awake", lasted)
            is_over = time.monotonic() - began >= self.limit_s or access.until.has_passed()
            if lasted >= self.expected_s or not is_needed(self) or is_over:
                if access.until.is_cancelled():
                    raise Cancelled
                websocket.close(access.until)
                return self._ended("open", lasted)

    def _hear(self, websocket: WebSocket, access: Access, began: float) -> None:
        """Listen for a moment."""
        try:
            websocket.next_kind(Deadline(_SLICE_S, within=access.until))
        except TimeoutError:
            return
        now = self.quiet_since = time.monotonic()
        if now - began > _BEGINNING_S and len(self.signs) < _KEPT_SIGNS:
            self.signs.append(now)

    @property
    def interval_s(self) -> float | None:
        """How regularly the service has said something by itself; `None` where it has not."""
        if len(self.signs) < _SIGNS:
            return None
        gaps = [after - before for before, after in zip(self.signs, self.signs[1:], strict=False)]
        least, most = min(gaps[-_SIGNS + 1 :]), max(gaps[-_SIGNS + 1 :])
        return statistics.median(gaps) if least * _ALIKE >= most else None

    def _ended(
        self, outcome: Outcome, seconds: float, words: str = "", close_code: int | None = None
    ) -> IdleOutcome:
        return IdleOutcome(
            hop=self.hop,
            outcome=outcome,
            seconds=seconds,
            words=words,
            interval_s=self.interval_s,
            signs=len(self.signs),
            close_code=close_code,
        )
