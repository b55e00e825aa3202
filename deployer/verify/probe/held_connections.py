"""Hold WebSocket connections open during a change, and record which of them survive.

One thread per connection opens it, pings every half second, and answers the service's pings. It
records how and when the connection ended, and judges nothing. Through SSH forwarding a reset looks
like an end without a Close frame: both are ``reset``, which browsers call 1006.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

from deployer.verify.net.access import Access, translate_errors
from deployer.verify.net.http1 import read_head, request
from deployer.verify.net.stream import Cancelled, Deadline, Dial, send
from deployer.verify.net.websocket import OpeningHandshake, WebSocket
from deployer.verify.probe.attempt import Failure
from deployer.verify.probe.lockouts import check_first_message
from deployer.verify.probe.spec import UpgradeProbe

How = Literal["closed", "reset"]

OPEN_TIMEOUT_S = 3.0
#: How long a connection may take to answer before it counts as hanging.
ANSWER_TIMEOUT_S = 5.0
_PAUSE_S = 0.5
_LONGEST_S = 86400.0
_CLOSE_PATIENCE_S = 0.5
#: Opening many at once would be a load test.
_OPENING_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The end of a connection at the monotonic time `at`.

    It was ``closed`` by a Close frame with `close_code`, or ``reset`` without one; `words` continue
    a sentence.
    """

    how: How
    at: float
    words: str
    close_code: int | None = None


class HeldConnection:
    """One connection and its thread; other threads may read all public attributes."""

    def __init__(
        self, probe: UpgradeProbe, access: Access, gate: threading.Semaphore, *, pause_s: float
    ) -> None:
        self.problem = ""  # why it could not be opened
        self.end: End | None = None
        self.is_open = False
        self.counts_clients = False
        self._answered = 0.0
        self._let_go_at, self._let_go_words = float("inf"), ""
        self._probe, self._access, self._gate, self._pause_s = probe, access, gate, pause_s
        self._changed = threading.Condition()
        self._is_settled = False
        # A daemon: without a network, a write may hang until the link is closed.
        self._thread = threading.Thread(target=self._work, name="canary", daemon=True)
        self._thread.start()

    def wait_until_settled(self, deadline: Deadline) -> None:
        """Wait until the connection is open or has failed to open."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_settled, _left_s(deadline))

    def has_answered(self, since: float, deadline: Deadline) -> bool:
        """Whether a ping sent at `since` or later is answered by the deadline."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.end is not None or self._answered >= since, _left_s(deadline)
            )
            return self.end is None and self._answered >= since

    def let_go(self, after_s: float, words: str) -> None:
        """Close the connection if it is still open in `after_s` seconds; this counts as its end."""
        self._let_go_at, self._let_go_words = time.monotonic() + after_s, words

    def join(self, deadline: Deadline) -> None:
        """Wait until the thread has closed the connection."""
        self._thread.join(_left_s(deadline))

    # --- in the thread ----------------------------------------------------------------------------

    def _work(self) -> None:
        with ExitStack() as stack:
            try:
                with self._gate:
                    websocket = self._opened(stack)
            except Failure as failure:
                self._settle(problem=failure.words)
                return
            except Exception as error:  # during a commit, no peer may cause a crash
                self._settle(problem=str(error) or "cancelled")
                return
            self._settle(problem="")
            self._hold(websocket)

    def _opened(self, stack: ExitStack) -> WebSocket:
        access, probe = self._access, self._probe
        stream = stack.enter_context(
            access.connect(probe.endpoint, server_name=probe.server_name, timings_s={})
        )
        opening = OpeningHandshake(subprotocols=probe.subprotocols)
        deadline = access.step()
        with translate_errors("the handshake", access.timeout_s):
            send(stream, request(probe.target, (*probe.headers, *opening.headers)), deadline)
            head = read_head(stream, deadline)
        if head.status_code != 101:
            raise Failure("status", head.words)
        websocket = opening.complete(stream, head)
        if probe.send is not None:
            with translate_errors("a message", access.timeout_s):
                websocket.send_text(probe.send, access.step())
        with translate_errors("a ping", access.timeout_s):
            websocket.ping(access.step())
        with contextlib.suppress(TimeoutError):
            websocket.await_first_message(Deadline(probe.listen_s, within=access.until))
        facts: dict[str, str] = {}
        check_first_message(websocket.first_message, facts)
        self.counts_clients = bool(facts)
        return websocket

    def _hold(self, websocket: WebSocket) -> None:
        until = self._access.until
        while True:
            try:
                asked = time.monotonic()
                websocket.ping(Deadline(ANSWER_TIMEOUT_S, within=until))
                with self._changed:
                    self._answered = asked
                    self._changed.notify_all()
                websocket.stay_idle(self._pause_s, until)
                if time.monotonic() >= self._let_go_at:
                    self._ended("reset", self._let_go_words, None)
                    websocket.close(Deadline(_CLOSE_PATIENCE_S))
                    return
            except TimeoutError:
                if until.has_passed():
                    return
            except Cancelled:
                websocket.close(Deadline(_CLOSE_PATIENCE_S))
                return
            except Failure as failure:
                how: How = "reset" if failure.close_code is None else "closed"
                self._ended(how, failure.words, failure.close_code)
                return
            except Exception as error:  # as above
                self._ended("reset", f"lost the connection: {error}", None)
                return

    def _settle(self, *, problem: str) -> None:
        with self._changed:
            self.problem, self.is_open, self._is_settled = problem, not problem, True
            self._answered = time.monotonic()
            self._changed.notify_all()

    def _ended(self, how: How, words: str, close_code: int | None) -> None:
        with self._changed:
            self.end = End(how=how, at=time.monotonic(), words=words, close_code=close_code)
            self._changed.notify_all()


class HeldConnections:
    """Connections held at the same time, pinged every `pause_s`; `close` closes them all."""

    def __init__(self, dial: Dial, *, pause_s: float = _PAUSE_S) -> None:
        self._pause_s = pause_s
        self._access = Access(dial=dial, timeout_s=OPEN_TIMEOUT_S, until=Deadline(_LONGEST_S))
        self._gate = threading.Semaphore(_OPENING_AT_ONCE)
        self._held: list[HeldConnection] = []

    def hold(self, probe: UpgradeProbe, count: int) -> tuple[HeldConnection, ...]:
        """Start to open `count` connections for `probe`."""
        added = tuple(
            HeldConnection(probe, self._access, self._gate, pause_s=self._pause_s)
            for _ in range(count)
        )
        self._held += added
        return added

    def wait_until_open(self) -> None:
        """Wait until each connection is open or has failed to open; some seconds at most."""
        deadline = Deadline(2 * OPEN_TIMEOUT_S)
        for held in self._held:
            held.wait_until_settled(deadline)

    def close(self) -> None:
        """Close the remaining connections with a Close frame, within a second; never raises."""
        self._access.until.cancel()
        deadline = Deadline(2 * _CLOSE_PATIENCE_S)
        for held in self._held:
            held.join(deadline)


def have_answered(
    held: Sequence[HeldConnection], *, since: float, deadline: Deadline
) -> list[bool]:
    """Return for each whether it is open and answers a ping sent at `since` or later in time."""
    return [each.has_answered(since, deadline) for each in held]


def _left_s(deadline: Deadline) -> float:
    try:
        return deadline.left_s()
    except TimeoutError:
        return 0.0
