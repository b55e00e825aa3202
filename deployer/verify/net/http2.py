"""The part of HTTP/2 that a WebSocket needs, over a `Stream`, with the protocol core of `h2`.

That core does no I/O. HTTP/2's own flow control bounds what a peer can make us buffer (bytes are
acknowledged as they are consumed), and a deadline bounds every wait.

Source: RFC 9113; RFC 8441, bootstrapping WebSockets with HTTP/2.
"""

from __future__ import annotations

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from h2.errors import ErrorCodes

from deployer.text.numbers import is_number
from deployer.verify.net.stream import Deadline, Stream, receive, send
from deployer.verify.probe.attempt import Failure, printable

_PORTION_BYTES = 16 * 1024
_HEADER_LIST_BYTES = 32 * 1024

#: The type of a frame follows its length, which has three bytes; SETTINGS is 4 (RFC 9113, 4.1).
_TYPE_AT, _SETTINGS = 3, 4

Headers = tuple[tuple[str, str], ...]


class Http2:
    """A client's connection. Everything raises `Failure`, TimeoutError or OSError."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._core = h2.connection.H2Connection(
            config=h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        )
        self._core.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: _HEADER_LIST_BYTES,
            },
        )
        self._has_settings = False
        self._beginning = b""
        self._streams: dict[int, Http2Stream] = {}
        self._goaway = ""

    @property
    def announces_websockets(self) -> bool:
        """Whether the peer's settings allow WebSockets (RFC 8441, section 3)."""
        return self._core.remote_settings.enable_connect_protocol == 1

    def start(self, deadline: Deadline) -> None:
        """Exchange settings with the peer."""
        self._core.initiate_connection()
        self.flush(deadline)
        while not self._has_settings:
            self.pump(deadline)

    def connect(self, headers: Headers, deadline: Deadline) -> Http2Stream:
        """Request a stream with CONNECT, and return it once the peer has answered."""
        number = self._core.get_next_available_stream_id()
        stream = self._streams[number] = Http2Stream(self, number)
        try:
            self._core.send_headers(number, headers)
        except h2.exceptions.H2Error as error:
            raise Failure("h2-broken", f"allows no more streams: {error}") from error
        self.flush(deadline)
        while stream.status_code is None and not stream.ended:
            self.pump(deadline)
        return stream

    def pump(self, deadline: Deadline) -> None:
        """Receive and process the next bytes, and send the replies that HTTP/2 requires."""
        if self._goaway:
            raise Failure("h2-broken", self._goaway)
        data = receive(self._stream, deadline, size=_PORTION_BYTES)
        if not data:
            raise Failure("h2-broken", "closed the connection in the middle of HTTP/2")
        self._check_beginning(data)
        try:
            events = self._core.receive_data(data)
        except (h2.exceptions.ProtocolError, ValueError) as error:
            words = f"violates HTTP/2: {printable(str(error) or type(error).__name__)}"
            raise Failure("h2-broken", words) from error
        for event in events:
            self._take(event)
        self.flush(deadline)

    def _check_beginning(self, data: bytes) -> None:
        """Check that the peer's first frame is its settings (RFC 9113, section 3.4).

        What is not HTTP/2 at all may look like the start of a frame that never ends.
        """
        if len(self._beginning) <= _TYPE_AT:
            self._beginning += data[: _TYPE_AT + 1]
            if len(self._beginning) > _TYPE_AT and self._beginning[_TYPE_AT] != _SETTINGS:
                raise Failure("h2-broken", "does not begin with HTTP/2's SETTINGS")

    def flush(self, deadline: Deadline) -> None:
        """Send the core's pending bytes."""
        data = self._core.data_to_send()
        if data:
            send(self._stream, data, deadline)

    def room(self, number: int) -> int:
        """Return how many bytes may be sent on a stream now."""
        window = self._core.local_flow_control_window(number)
        return min(window, self._core.max_outbound_frame_size)

    def send_data(self, number: int, data: bytes, deadline: Deadline) -> None:
        """Send `data`; the caller has checked that there is room."""
        self._core.send_data(number, data)
        self.flush(deadline)

    def acknowledge(self, number: int, size: int, deadline: Deadline) -> None:
        """Allow the peer to send `size` more bytes."""
        self._core.acknowledge_received_data(size, number)
        self.flush(deadline)

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RemoteSettingsChanged):
            self._has_settings = True
        elif isinstance(event, h2.events.ConnectionTerminated):
            self._goaway = f"ended HTTP/2 with GOAWAY ({_error_name(event.error_code)})"
        stream = self._streams.get(getattr(event, "stream_id", None) or 0)
        if stream is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            stream.answered(tuple((str(name), str(value)) for name, value in event.headers or ()))
        elif isinstance(event, h2.events.DataReceived):
            stream.received(event.data or b"", event.flow_controlled_length or 0)
        elif isinstance(event, h2.events.StreamReset):
            stream.end(f"reset the stream ({_error_name(event.error_code)})")
        elif isinstance(event, h2.events.StreamEnded):
            stream.end("ended the stream")


class Http2Stream:
    """One stream of a connection, itself a `Stream`; `end_words` describe how it ended."""

    def __init__(self, connection: Http2, number: int) -> None:
        self._connection = connection
        self._number = number
        self._data = bytearray()
        self._owed = 0
        self._timeout_s = 10.0
        self.status_code: int | None = None
        self.headers: Headers = ()
        self.ended = False
        self.end_words = ""

    def answered(self, headers: Headers) -> None:
        """Handle the response's header fields."""
        status = dict(headers).get(":status", "")
        self.status_code = int(status) if status.isascii() and is_number(status) else 0
        self.headers = tuple(field for field in headers if not field[0].startswith(":"))

    def received(self, data: bytes, counted: int) -> None:
        """Handle received bytes; `counted` is their size for flow control."""
        self._data += data
        self._owed += counted

    def end(self, words: str) -> None:
        """Mark the stream as ended."""
        self.ended, self.end_words = True, words

    def sendall(self, data: bytes, /) -> None:
        """Send all of `data`, as fast as flow control permits."""
        deadline = Deadline(self._timeout_s)
        while data:
            if self.ended:
                raise ConnectionResetError(self.end_words)
            room = self._connection.room(self._number)
            if room <= 0:
                self._connection.pump(deadline)
                continue
            self._connection.send_data(self._number, data[:room], deadline)
            data = data[room:]

    def recv(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end."""
        deadline = Deadline(self._timeout_s)
        while not self._data and not self.ended:
            self._connection.pump(deadline)
        data = bytes(self._data[:size])
        del self._data[:size]
        if self._owed and not self.ended and not self._data:
            owed, self._owed = self._owed, 0
            self._connection.acknowledge(self._number, owed, deadline)
        return data

    def settimeout(self, seconds: float | None, /) -> None:
        """Limit each later call to `seconds`."""
        self._timeout_s = 10.0 if seconds is None else seconds

    def close(self) -> None:
        """Do nothing: the connection underneath is closed as a whole."""


def _error_name(code: ErrorCodes | int | None) -> str:
    return code.name if isinstance(code, ErrorCodes) else f"error {code}"
