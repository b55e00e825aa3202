"""Serving one controller: its requests in one thread, the channel and its relays in another."""

from __future__ import annotations

import binascii
import os
import select
import sys
import threading
import time

from deployer.agent import settings
from deployer.agent.channel import Bell, Channel
from deployer.agent.children import Children
from deployer.agent.commit.state_folder import StateFolder
from deployer.agent.encoding import to_b64
from deployer.agent.errors import Gone, Refusal, StepError, os_words
from deployer.agent.requests import REQUESTS
from deployer.agent.settings import CHUNK_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from deployer.agent.relay import Relay
    from deployer.agent.settings import Json

#: The requests that are methods of `Agent`, each with an underscore before its name.
OWN_REQUESTS = ("apply", "confirm", "revert", "abandon", "tidy", "connect")


class Agent:
    """The session with a controller: a thread for the channel and its relays, one for requests."""

    def __init__(self, channel: Channel, program: Callable[[], bytes]) -> None:
        """`program` returns the agent as a zip file, for the watchdog."""
        self.channel = channel
        self._program = program
        self.state = StateFolder()
        self.children = Children(channel.gone.is_set)
        self._relays: dict[int, Relay] = {}
        self._requests: list[Json] = []
        self._queueing = threading.Lock()
        self._arrived = Bell()
        self._wake_in, self._wake_out = os.pipe()
        self._talking = threading.Lock()
        self._current: Any = None
        self._own_commit = ""
        self.made_commit = ""  # the last one that this process worked on
        self._duration_s = 0.0
        self._confirm_until = 0.0  # of its own commit, in monotonic time
        self._is_extended = False
        self.kept: list[str] = []  # what a step obtained that a revert keeps, for the journal
        self._answers: list[Json] = []
        self._answered = Bell()
        self.on_word: Callable[[Json], None] = lambda message: None  # takes all other messages

    @property
    def program(self) -> bytes:
        """The agent as a zip file, for the watchdog."""
        return self._program()

    # requests, in their own thread

    def event(self, name: str, **details: Any) -> None:
        """Send an event of the current request."""
        with self._talking:  # no event follows the reply
            if self._current is not None:
                self.channel.send({"id": self._current, "event": name, **details})

    def step(
        self, n: int, total: int, resource_id: str, action: str, *, seconds: float | None = None
    ) -> None:
        """Report that a step starts or, with `seconds`, that it is done."""
        state = {"state": "start"} if seconds is None else {"state": "done", "seconds": seconds}
        self.event("step", n=n, total=total, resource_id=resource_id, action=action, **state)

    def _work(self) -> None:
        while True:
            request = self._next_request()
            if request is None:
                break
            self._current = request.get("id")
            answer = self._answer(request)
            with self._talking:
                self._current = None
                self.channel.send({"id": request.get("id"), **answer})
        self._leave()

    def _next_request(self) -> Json | None:
        """Wait for a request until the deadline of the own commit; `None` at the end."""
        while not self.channel.gone.is_set():
            if self._is_extended:
                self._is_extended = False
                self._give_time()
            if self._own_commit and time.monotonic() >= self._confirm_until:
                self._revert_own("it was not confirmed in time")
            with self._queueing:
                if self._requests:
                    return self._requests.pop(0)
            left_s = self._confirm_until - time.monotonic()
            self._arrived.wait(max(0.0, left_s) if self._own_commit else None)
        return None

    def _answer(self, request: Json) -> Json:
        name = request.get("request")
        if name not in REQUESTS and name not in OWN_REQUESTS:
            return {"error": {"code": "bad-request", "message": f"unknown request {name!r}"}}
        try:
            if name in OWN_REQUESTS:
                return {"reply": getattr(self, "_" + str(name))(request)}
            return {"reply": REQUESTS[str(name)](self, request)}
        except Refusal as refusal:
            return {"error": refusal.reply}
        except Gone:
            return {"error": {"code": "internal", "message": "the controller went away"}}
        except StepError as error:
            details = {"message": error.message, "output": error.output}
            return {"error": {"code": "internal", **details}}
        except (KeyError, TypeError, ValueError) as error:
            words = f"{type(error).__name__}: {error}"
            return {
                "error": {"code": "bad-request", "message": "the request is incomplete:  " + words}
            }
        except OSError as error:
            words = f"{error.filename or settings.STATE}: {os_words(error)}"
            return {"error": {"code": "internal", "message": words}}
        except Exception as error:  # the controller must get a reply
            words = f"{type(error).__name__}: {error}"
            return {"error": {"code": "internal", "message": words}}

    def ask(self, question: Json, *, limit_s: float) -> Json:
        """The controller's answer to a question during a request.

        Raises:
            StepError: no answer within `limit_s`, or an error as the answer.
            Gone: the controller went away.
        """
        self._answers.clear()
        self.event("ask", question=question)
        deadline = time.monotonic() + limit_s
        while not self._answers:
            if self.channel.gone.is_set():
                raise Gone
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise StepError(f"the controller did not answer within {limit_s:g} s")
            self._answered.wait(min(left_s, 1.0))
        answer = self._answers.pop()
        if answer.get("error"):
            raise StepError(str(answer["error"]))
        return answer

    def _apply(self, request: Json) -> Json:
        from deployer.agent.commit.apply import Apply

        reply = Apply(self, request).run()
        self._own_commit = request["commit"]["id"]
        self._duration_s = float(request["commit"]["rollback_duration_s"])
        self._give_time()
        return reply

    def _give_time(self) -> None:
        """Restart the time to confirm the own commit."""
        self._confirm_until = time.monotonic() + self._duration_s
        from deployer.agent.commit.watchdog import note_pulse

        note_pulse(self._duration_s)

    def _confirm(self, request: Json) -> Json:
        from deployer.agent.commit.confirm import confirm

        reply = confirm(self, request)
        self._own_commit = ""
        return reply

    def _tidy(self, request: Json) -> Json:
        from deployer.agent.commit.confirm import tidy

        return tidy(self)

    def _abandon(self, request: Json) -> Json:
        from deployer.agent.commit.confirm import abandon

        return abandon(self, request)

    def _revert(self, request: Json) -> Json:
        from deployer.agent.commit.revert import Revert

        reply = Revert(self, request["commit"], str(request.get("why", ""))).run()
        self._own_commit = ""
        return reply

    def _connected(self, request: Json) -> None:
        self.channel.send({"id": request.get("id"), **self._answer(request)})

    def _connect(self, request: Json) -> Json:
        number = int(request["relay"])
        if number in self._relays:
            raise Refusal("bad-request", f"relay {number} is in use")
        from deployer.agent.relay import Relay, open_connection

        self._relays[number] = Relay(number, open_connection(request))
        os.write(self._wake_out, b"+")
        return {"relay": number}

    def _leave(self) -> None:
        """The controller is gone: revert what it has not confirmed."""
        if self._own_commit:
            self._revert_own("the controller went away")

    def _revert_own(self, why: str) -> None:
        """Revert the own commit without a request."""
        commit, self._own_commit = self._own_commit, ""
        try:
            self._revert({"commit": commit, "why": why})
        except (Refusal, OSError):
            pass  # a different process has decided, or the watchdog will

    def _tell_alive(self) -> None:
        while not self.channel.gone.is_set():
            time.sleep(settings.ALIVE_EVERY_S)
            self.event("alive")

    # the channel and its relays

    def run(self) -> None:
        """Serve until the controller closes the channel."""
        worker = threading.Thread(target=self._work)
        worker.start()
        threading.Thread(target=self._tell_alive, daemon=True).start()
        try:
            while not self.channel.gone.is_set():
                self._turn()
        except (ValueError, OSError) as error:
            sys.stderr.write(f"the channel broke: {error}\n")
        self.channel.gone.set()
        self._arrived.ring()
        worker.join()

    def _turn(self) -> None:
        """Wait for the next messages and bytes, and pass them on."""
        relays = list(self._relays.values())
        reading: list[Any] = [self._wake_in] + [r.connection for r in relays if not r.ending]
        if not any(relay.is_full() for relay in relays):
            reading.append(self.channel.in_fd)
        writing = [relay.connection for relay in relays if relay.out]
        limit_s = 1.0 if writing else None
        ready, writable, _ = select.select(reading, writing, [], limit_s)
        if self._wake_in in ready:
            os.read(self._wake_in, 100)
        for relay in relays:
            if relay.connection in writable:
                self._flush(relay)
            if relay.connection in ready:
                self._pull(relay)
            if relay.is_stuck() or (relay.ending and not relay.out):
                self._close(relay)
        if self.channel.in_fd in ready:
            for message in self.channel.receive():
                self._take(message)

    def _take(self, message: Json) -> None:
        if message.get("request") == "connect":  # the current request may depend on it
            threading.Thread(target=self._connected, args=(message,), daemon=True).start()
            return
        if "request" in message:
            with self._queueing:
                self._requests.append(message)
            self._arrived.ring()
            return
        if "extend" in message:
            if self._own_commit and message["extend"] == self._own_commit:
                self._is_extended = True
                self._arrived.ring()
            return
        if "answer" in message:
            self._answers.append(message["answer"])
            self._answered.ring()
            return
        if "relay" in message:
            self._take_relayed(message)
        else:
            self.on_word(message)

    def _take_relayed(self, message: Json) -> None:
        relay = self._relays.get(message["relay"])
        if relay is None:
            return
        if message.get("closed"):
            relay.ending = True
            if not relay.out:
                self._close(relay)
        elif message.get("data_b64"):
            relay.put(binascii.a2b_base64(message["data_b64"]))
            self._flush(relay)

    def _flush(self, relay: Relay) -> None:
        try:
            relay.flush()
        except OSError:
            self._close(relay)

    def _pull(self, relay: Relay) -> None:
        try:
            data = relay.connection.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.channel.send({"relay": relay.number, "data_b64": to_b64(data)})
        else:
            self._close(relay)

    def _close(self, relay: Relay) -> None:
        if self._relays.pop(relay.number, None) is not None:
            relay.connection.close()
            self.channel.send({"relay": relay.number, "closed": True})
