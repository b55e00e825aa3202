"""One idle connection: what closes it or keeps it alive, and when.

Nothing is sent except pongs to the service's pings, which RFC 6455 requires. A hop counts from the
last byte that passed through it in either direction, and so does this module.
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
#: Messages this early belong to the opening, like a greeting.
_BEGINNING_S = 1.0
#: This many signs of life in a row are enough to measure the service's interval.
_SIGNS = 3
_ALIKE = 1.5
_KEPT_SIGNS = 200

Outcome = Literal["cut", "open", "kept-awake", "failed", "skipped", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleOutcome:
    """The outcome of an idle connection at one hop.

    ``cut`` after `seconds` idle (`words` say how); still ``open`` after `seconds`; ``kept-awake``
    by the service every `interval_s`; ``failed`` to open or ``skipped`` (`words` say why).
    `signs` is how often the service sent something unprompted, `interval_s` its interval or `None`
    if it was not regular. `close_code` is the code of a Close frame, which only a service sends.
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
    """An idle connection; other threads may read it.

    `expected_s` is how long to stay idle, unless `is_needed` ends the wait earlier; `limit_s` is
    the limit for the whole wait, for a service that sends something now and then.
    """

    hop: Hop
    probe: UpgradeProbe
    expected_s: float
    limit_s: float = math.inf
    result: IdleOutcome | None = None
    idle_since: float = field(default_factory=time.monotonic)
    signs: list[float] = field(default_factory=list)

    def wait(self, access: Access, *, is_needed: Callable[[IdleConnection], bool]) -> IdleOutcome:
        """Open the connection and wait.

        Raises: `DeployerError` if the connection to the host is lost.
        """
        try:
            self.result = self._waited(access, is_needed)
        except Cancelled:
            self.result = IdleOutcome(
                hop=self.hop, outcome="interrupted", seconds=time.monotonic() - self.idle_since
            )
        except DeployerError:
            raise
        except Exception as error:  # no peer may cause a crash
            words = f"could not be measured: {type(error).__name__}: {error}"
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
                return self._idle(websocket, access, is_needed)
        except Failure as failure:
            return IdleOutcome(hop=self.hop, outcome="failed", words=failure.words)

    def _idle(
        self, websocket: WebSocket, access: Access, is_needed: Callable[[IdleConnection], bool]
    ) -> IdleOutcome:
        began = self.idle_since = time.monotonic()
        while True:
            try:
                with translate_errors("the idle time", self.expected_s):
                    self._listen(websocket, access, began)
            except Failure as failure:
                lasted = time.monotonic() - self.idle_since
                return self._ended("cut", lasted, failure.words, failure.close_code)
            lasted = time.monotonic() - self.idle_since
            if self.interval_s is not None:
                websocket.close(access.until)
                return self._ended("kept-awake", lasted)
            is_over = time.monotonic() - began >= self.limit_s or access.until.has_passed()
            if lasted >= self.expected_s or not is_needed(self) or is_over:
                if access.until.is_cancelled():
                    raise Cancelled
                websocket.close(access.until)
                return self._ended("open", lasted)

    def _listen(self, websocket: WebSocket, access: Access, began: float) -> None:
        """Wait for a frame for a moment."""
        try:
            websocket.next_kind(Deadline(_SLICE_S, within=access.until))
        except TimeoutError:
            return
        now = self.idle_since = time.monotonic()
        if now - began > _BEGINNING_S and len(self.signs) < _KEPT_SIGNS:
            self.signs.append(now)

    @property
    def interval_s(self) -> float | None:
        """The interval at which the service sends something unprompted; `None` if irregular."""
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
