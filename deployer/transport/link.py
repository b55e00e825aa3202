"""The link to one host's agent: requests, their events and replies, and streams.

Theory of operation. A thread reads the agent's messages and distributes them: those before the
first request, those of the current request, and the bytes of each relay. Callers wait for theirs.
There is one request at a time, next to any number of streams, which are opened at any time. While
an answer is awaited, the reading thread also watches for signs of life, and gives the host up after
too long without any: it closes the connection, and all who wait get an error.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, overload

from deployer.errors import AgentError, HostError, UnreachableError
from deployer.model import Host
from deployer.transport.framing import Decoder, FramingError, Message, TooLargeError, encode
from deployer.transport.process import Pipe, Process, seconds_left
from deployer.transport.streams import RelayStream, Stream, relay_error

if TYPE_CHECKING:
    from deployer.agent.replies import (
        ApplyReply,
        ClaimReply,
        ConfirmReply,
        ConnectionsReply,
        FactsReply,
        HistoryReply,
        HoldersReply,
        InspectReply,
        PlacesReply,
        ProbeReply,
        RevertReply,
        UndoReply,
    )

#: How much a host may send before it is read; more is not a slow reader but an attack.
_MAX_UNREAD_BYTES = 256 * 1024 * 1024
_MAX_UNREAD = 100_000

#: Opens a stream without the agent; `None` if only the agent can.
Dial = Callable[..., Stream | None]


class Link:
    """A started agent. `hello` is its greeting: its Python, user ID and process ID."""

    def __init__(
        self,
        host: Host,
        pipe: Pipe,
        *,
        silence_timeout_s: float,
        dial: Dial,
    ) -> None:
        self.host = host
        self.hello: Message = {}
        self._silence_timeout_s = silence_timeout_s
        self._dial = dial
        self._decoder = Decoder()
        self._greetings: deque[Message] = deque()
        self._answers: dict[int, deque[Message]] = {}
        self._relays: dict[int, RelayStream] = {}
        self._numbers = itertools.count(1)
        self._turn = threading.Lock()
        self._waiting: dict[object, float] = {}
        self._heard = time.monotonic()
        self._unread = 0
        self._unread_bytes = 0
        self._lost = ""
        self._garbage = b""
        self.process = Process(
            pipe,
            on_output=self._received,
            on_tick=self._watch,
            on_end=self._ended,
            tick_s=min(1.0, silence_timeout_s / 4),
        )
        self.process.start()

    # --- requests ---------------------------------------------------------------------------------

    @overload
    def request(self, name: Literal["facts"], **given: Any) -> FactsReply: ...

    @overload
    def request(self, name: Literal["probe"], **given: Any) -> ProbeReply: ...

    @overload
    def request(self, name: Literal["apply"], **given: Any) -> ApplyReply: ...

    @overload
    def request(self, name: Literal["abandon"], **given: Any) -> ApplyReply: ...

    @overload
    def request(self, name: Literal["confirm"], **given: Any) -> ConfirmReply: ...

    @overload
    def request(self, name: Literal["revert"], **given: Any) -> RevertReply: ...

    @overload
    def request(self, name: Literal["claim"], **given: Any) -> ClaimReply: ...

    @overload
    def request(self, name: Literal["history"], **given: Any) -> HistoryReply: ...

    @overload
    def request(self, name: Literal["undo"], **given: Any) -> UndoReply: ...

    @overload
    def request(self, name: Literal["connections"], **given: Any) -> ConnectionsReply: ...

    @overload
    def request(self, name: Literal["holders"], **given: Any) -> HoldersReply: ...

    @overload
    def request(self, name: Literal["places"], **given: Any) -> PlacesReply: ...

    @overload
    def request(self, name: Literal["inspect"], **given: Any) -> InspectReply: ...

    @overload
    def request(self, name: str, **given: Any) -> Message: ...

    def request(
        self,
        name: str,
        *,
        on_event: Callable[[Message], None] | None = None,
        timeout_s: float | None = None,
        doing: str = "probing the host",
        **fields: Any,
    ) -> Any:
        """Send a request to the agent, and return its reply.

        `fields` are the request's (docs/reference/protocol.md). `on_event` gets each event but
        `alive`, in the caller's thread. `doing` says in errors what was in progress.

        Raises: AgentError with the agent's code; UnreachableError if the host stops responding,
        the connection breaks or `timeout_s` is over.
        """
        try:
            return self._ask(name, fields, on_event=on_event, timeout_s=timeout_s, doing=doing)
        except TimeoutError:
            raise UnreachableError(
                f"not done within {timeout_s:g} s", host=self.host.name, doing=doing
            ) from None

    def _ask(
        self,
        name: str,
        fields: Message,
        *,
        on_event: Callable[[Message], None] | None = None,
        timeout_s: float | None,
        doing: str,
    ) -> Message:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        if not self._turn.acquire(timeout=-1 if timeout_s is None else timeout_s):
            raise TimeoutError
        try:
            return self._exchange(name, fields, on_event=on_event, deadline=deadline, doing=doing)
        finally:
            self._turn.release()

    def _exchange(
        self,
        name: str,
        fields: Message,
        *,
        on_event: Callable[[Message], None] | None = None,
        deadline: float | None,
        doing: str,
    ) -> Message:
        number = next(self._numbers)
        try:
            self._answers[number] = deque()
            with self._awaiting():
                self._say({"id": number, "request": name, **fields}, doing)
                while True:
                    message = self._answer(number, deadline, doing)
                    if "reply" in message:
                        return self._mapping(message, "reply", doing)
                    if "error" in message:
                        raise self._agent_error(self._mapping(message, "error", doing), doing)
                    if on_event is not None and message.get("event") != "alive":
                        on_event(message)
        finally:
            self._answers.pop(number, None)

    def _mapping(self, message: Message, key: str, doing: str) -> Message:
        found = message[key]
        if isinstance(found, dict):
            return found
        self._lose(f"the host sends something that is not a message: {str(message)[:80]}")
        raise self._gone(doing)

    def tell(self, message: Message) -> bool:
        """Send a message that has no reply; false if the connection is lost."""
        try:
            with self._awaiting():
                self.process.write(encode(message))
        except (OSError, EOFError):
            return False
        return True

    def _say(self, message: Message, doing: str) -> None:
        try:
            self.process.write(encode(message))
        except TooLargeError as error:
            size_mib = error.size_bytes / (1 << 20)
            raise HostError(
                "the files of this plan are too large to be sent at once: "
                f"encoded they have {size_mib:,.0f} MiB, and at most 64 are possible",
                host=self.host.name,
                hint="Nothing was changed. Apply in parts (--tags), or let the host get large "
                "files from a package or with a guarded command.",
            ) from None
        except (OSError, EOFError):
            raise self._gone(doing) from None

    def _answer(self, number: int, deadline: float | None, doing: str) -> Message:
        answers = self._answers[number]
        left_s = None if deadline is None else seconds_left(deadline)
        if not self.process.wait(lambda: bool(answers) or self._is_over(), left_s):
            raise TimeoutError
        if answers:
            with self.process.changed:
                message = answers.popleft()
                if not answers:
                    self._unread = self._unread_bytes = 0
            return message
        raise self._gone(doing)

    def _agent_error(self, error: Message, doing: str) -> AgentError:
        return AgentError(
            str(error.get("message") or error.get("code", "an unknown error")),
            host=self.host.name,
            code=str(error.get("code", "unknown")),
            doing=doing,
            details={key: error[key] for key in error if key not in ("code", "message")},
        )

    # --- streams ----------------------------------------------------------------------------------

    def open_stream(
        self,
        *,
        host: str = "",
        port: int = 0,
        socket: str = "",
        timeout_s: float = 10.0,
        proxy: str = "",
    ) -> Stream:
        """A connection from the host to `host` and `port`, or to the unix socket `socket`.

        With `proxy`, the name of a proxy's process, sockets are opened as by that proxy.

        It uses the SSH connection's forwarding if possible, otherwise the agent.

        Raises: ConnectionRefusedError, FileNotFoundError (no such socket), TimeoutError or another
        OSError as from a socket; UnreachableError if the connection to the host breaks.
        """
        deadline = time.monotonic() + timeout_s
        if socket and proxy:
            return self._open_relay({"socket": socket, "proxy": proxy}, deadline)
        stream = self._dial(host=host, port=port, socket=socket, timeout_s=timeout_s)
        if stream is not None:
            return stream
        target: Message = {"socket": socket} if socket else {"host": host, "port": port}
        return self._open_relay(target, deadline)

    def _open_relay(self, target: Message, deadline: float) -> RelayStream:
        relay = RelayStream(next(self._numbers), send=self._send_relayed)
        self._relays[relay.number] = relay
        where = target.get("socket") or f"{target['host']} port {target['port']}"
        doing = f"connecting to {where} on the host"
        try:
            fields = {"relay": relay.number, **target}
            self._exchange("connect", fields, deadline=deadline, doing=doing)
        except AgentError as error:
            del self._relays[relay.number]
            raise relay_error(error.problem) from error
        except BaseException:
            del self._relays[relay.number]
            raise
        return relay

    def _send_relayed(self, message: Message) -> None:
        if message.get("closed"):
            self._relays.pop(message["relay"], None)
        try:
            with self._awaiting():
                self.process.write(encode(message))
        except (OSError, EOFError) as error:
            raise ConnectionResetError(str(self._gone("relaying"))) from error

    # --- the start --------------------------------------------------------------------------------

    def greeting(self, timeout_s: float) -> Message | None:
        """The next message outside of requests; `None` if none arrives in time."""
        self.process.wait(lambda: self.has_greeting() or self._is_over(), timeout_s)
        return self._greetings.popleft() if self._greetings else None

    def has_greeting(self) -> bool:
        """Whether a message outside of requests has arrived."""
        return bool(self._greetings)

    @property
    def garbage(self) -> str:
        """Received data that is not a message, as text."""
        return (self._garbage or self._decoder.pending)[:200].decode(errors="replace").strip()

    # --- the end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connection; the agent then reverts a pending commit. Never blocks or raises."""
        with self.process.changed:
            self._lost = self._lost or "the connection is closed"
            self.process.changed.notify_all()
        self.process.close()

    def _is_over(self) -> bool:
        return bool(self._lost) or self.process.has_ended

    def _gone(self, doing: str) -> UnreachableError:
        if self._lost:
            return UnreachableError(self._lost, host=self.host.name, doing=doing)
        status = self.process.exit_status(0.5)
        if status is None or not self.process.is_connected():
            return UnreachableError("the connection broke", host=self.host.name, doing=doing)
        said = self.process.errors(wait_s=0.5)
        return UnreachableError(
            f"the agent on the host exited (exit status {status})",
            host=self.host.name,
            doing=doing,
            hint=f"Its output: {said}" if said else "",
        )

    # --- in the reading thread --------------------------------------------------------------------

    def _received(self, data: bytes) -> None:
        self._heard = time.monotonic()
        try:
            for message in self._decoder.feed(data):
                self._sort(message)
        except FramingError as error:
            self._garbage = error.received
            self._lose(f"the host sends something that is {error}")
        except Exception as error:
            # This thread must not end before those that wait for it know.
            self._lose(f"the host sends a message that cannot be used: {str(error)[:80]}")

    def _sort(self, message: Message) -> None:
        with self.process.changed:
            if "id" in message:
                answers = self._answers.get(message["id"])
                if answers is not None:
                    answers.append(message)
                    self._count_unread()
            elif "relay" not in message:
                self._greetings.append(message)
                self._count_unread()
        relay = self._relays.get(message.get("relay", 0))
        if relay is not None and "id" not in message:
            relay.feed(message)

    def _count_unread(self) -> None:
        self._unread += 1
        self._unread_bytes += self._decoder.size_bytes
        if self._unread > _MAX_UNREAD or self._unread_bytes > _MAX_UNREAD_BYTES:
            raise ValueError("more messages than can be read")

    def _watch(self) -> None:
        since = min(list(self._waiting.values()), default=None)
        if since is None:
            return
        if time.monotonic() - max(since, self._heard) > self._silence_timeout_s:
            self._lose(f"the host has not responded for {self._silence_timeout_s:g} s")

    def _lose(self, why: str) -> None:
        with self.process.changed:
            self._lost = self._lost or why
            self.process.changed.notify_all()
        self.process.close()

    def _ended(self) -> None:
        why = f"{self.host.name}: {self._lost or 'the connection to the agent ended'}"
        for relay in list(self._relays.values()):
            relay.break_off(why)

    @contextmanager
    def _awaiting(self) -> Iterator[None]:
        """Watch the host: an answer is awaited."""
        token = object()
        self._waiting[token] = time.monotonic()
        try:
            yield
        finally:
            del self._waiting[token]
