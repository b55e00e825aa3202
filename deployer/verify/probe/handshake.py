"""Run an `UpgradeProbe`: the opening handshake, the messages, and the closing handshake."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from deployer.verify.net.access import Access, translate_errors
from deployer.verify.net.answer import handshake_result
from deployer.verify.net.http1 import Head, read_body, read_head, request
from deployer.verify.net.redact import format_request, format_response, without_secrets
from deployer.verify.net.stream import Deadline, send
from deployer.verify.net.websocket import Message, OpeningHandshake, WebSocket
from deployer.verify.probe.attempt import Attempt, Failure, printable
from deployer.verify.probe.lockouts import check_first_message
from deployer.verify.probe.spec import Http2Probe, UpgradeProbe

# A service that requires a login or a first message may close at once with one of these codes: it
# works. RFC 6455, section 7.4: 1000 normal, 1005 no code, 1008 policy, 3000 to 4999 its own.
POLITE_CLOSE_CODES = frozenset({1000, 1005, 1008, *range(3000, 5000)})
#: The evidence if an expected message did not arrive, nor any other.
NO_MESSAGE = "no message was received"
#: Shorter texts are words that any message may contain; longer ones may be a token.
_TOKEN_LENGTH = 16


def attempt_upgrade(probe: UpgradeProbe, access: Access) -> Attempt:
    """Run `probe`. Raises: only if the connection to the host itself is lost."""
    began = time.monotonic()
    timings_s = probe.timings_s
    head: Head | None = None
    body = b""
    subprotocol: str | None = None
    failure: Failure | None = None
    note = ""
    unanswered = _Unanswered()
    facts: dict[str, str] = {}
    opening = OpeningHandshake(subprotocols=probe.subprotocols)
    headers = (*probe.headers, *opening.headers)
    try:
        with access.connect(
            probe.endpoint,
            server_name=probe.server_name,
            timings_s=timings_s,
            is_secret=probe.hop == "public" and bool(probe.hidden),
            facts=facts,
        ) as stream:
            asked = time.monotonic()
            deadline = access.step()
            with translate_errors("the handshake", access.timeout_s):
                send(stream, request(probe.target, headers), deadline)
                head = read_head(stream, deadline)
                opened = time.monotonic()
                timings_s["upgrade"] = opened - asked
                if head.status_code != 101:
                    body = read_body(stream, head, deadline)
                    raise Failure("status", head.words)
            websocket = opening.complete(stream, head)
            subprotocol = websocket.subprotocol
            try:
                note = _conversation(websocket, probe, access, timings_s, unanswered)
            finally:
                websocket.close(access.until)
                if websocket.first_message_at is not None:
                    timings_s["first_message"] = max(0.0, websocket.first_message_at - opened)
                check_first_message(websocket.first_message, facts)
    except Failure as error:
        failure = error
    answer = handshake_result(
        probe, head, body=body, failure=failure, timings_s=timings_s, subprotocol=subprotocol
    )
    return Attempt(
        answer=answer,
        failure=failure,
        note=note,
        facts=facts,
        seconds=time.monotonic() - began - unanswered.seconds,
        request=format_request(probe.target, headers, hidden=probe.hidden),
        response=format_response(head, body),
    )


@dataclass(slots=True)
class _Unanswered:
    """The wait for a first message that never came, which is not the service's time."""

    seconds: float = 0.0


def _conversation(
    websocket: WebSocket,
    probe: UpgradeProbe,
    access: Access,
    timings_s: dict[str, float],
    unanswered: _Unanswered,
) -> str:
    """Exchange all messages on an open connection; return a note for display."""
    if probe.subprotocols and websocket.subprotocol is None:
        offered = ", ".join(probe.subprotocols)
        words = f"selected none of the offered subprotocols ({offered})"
        raise Failure("subprotocol-missing", words)
    demands = probe.expect is not None or probe.hold_s is not None
    listening = Deadline(probe.listen_s, within=access.until)
    try:
        exchange(websocket, probe, access)
        timings_s["ping"] = _ping(websocket, access, when="")
    except Failure as failure:
        if demands or failure.close_code not in POLITE_CLOSE_CODES:
            raise
        return f"the service {failure.words} right after the handshake"
    listened = time.monotonic()
    closed = _listen(websocket, listening)
    if websocket.first_message is None:
        unanswered.seconds = time.monotonic() - listened
    if closed:
        return closed
    note = _first_message_words(websocket)
    if probe.hold_s is not None:
        _hold(websocket, probe.hold_s, access)
        _ping(websocket, access, when=f" after {probe.hold_s:g} s idle")
    return note


def exchange(websocket: WebSocket, probe: UpgradeProbe | Http2Probe, access: Access) -> None:
    """Send the probe's message, and wait for the one that it expects. Raises: `Failure`."""
    deadline = access.step()
    with translate_errors("a message", access.timeout_s):
        if probe.send is not None:
            websocket.send_text(probe.send, deadline)
    if probe.expect is None:
        return
    try:
        with translate_errors("a message", access.timeout_s):
            websocket.receive_message(_matcher(probe.expect, probe.expect_is_regex), deadline)
    except Failure as failure:
        if failure.code == "timeout" and websocket.first_message is None:
            raise _no_message(websocket, probe, access) from failure
        received = " · ".join(_shown(message, probe) for message in websocket.last_messages)
        arrived = f"received: {received}" if received else NO_MESSAGE
        expected = _expected_words(probe)
        words = {
            "timeout": f"did not send {expected} within {access.timeout_s:g} s",
        }.get(failure.code, f"{failure.words} before {expected} arrived")
        raise Failure(
            "unexpected-message" if failure.code == "timeout" else failure.code,
            words,
            close_code=failure.close_code,
            evidence=arrived,
        ) from failure


def _no_message(websocket: WebSocket, probe: UpgradeProbe | Http2Probe, access: Access) -> Failure:
    """Check with a ping whether a peer that sent nothing is alive."""
    _ping(websocket, access, when=" and sent no message")
    limit = f"{access.timeout_s:g} s"
    words = (
        f"opened the connection and answers pings, but sent no message within {limit}, not even"
        f" {_expected_words(probe)}"
    )
    return Failure("silent-after-upgrade", words)


def _expected_words(probe: UpgradeProbe | Http2Probe) -> str:
    """Return the expected message as the object of a sentence."""
    expect = probe.expect or ""
    if probe.expect_is_regex:
        return f"a message that matches {printable(without_secrets(expect))!r}"
    is_sent = probe.send is not None and len(probe.send) > _TOKEN_LENGTH
    if is_sent and expect == probe.send:
        return "the message that was sent to it"
    return f"the expected message {printable(without_secrets(expect))!r}"


def _ping(websocket: WebSocket, access: Access, *, when: str) -> float:
    try:
        with translate_errors("a ping", access.timeout_s):
            return websocket.ping(access.step())
    except Failure as failure:
        if failure.code != "timeout":
            raise
        words = f"did not answer a ping within {access.timeout_s:g} s{when}"
        raise Failure("no-pong", words) from failure


def _listen(websocket: WebSocket, deadline: Deadline) -> str:
    """Wait for a first message; return how the service closed the connection, if it did."""
    try:
        with translate_errors("the connection", 0):
            websocket.await_first_message(deadline)
    except Failure as failure:
        if failure.code != "timeout":
            return f"the service {failure.words} soon after the handshake"
    return ""


def _hold(websocket: WebSocket, seconds: float, access: Access) -> None:
    began = time.monotonic()
    try:
        with translate_errors("the idle time", seconds):
            websocket.stay_idle(seconds, access.until)
    except Failure as failure:
        lasted = time.monotonic() - began
        raise Failure(
            "idle-cut",
            f"{failure.words} after {lasted:.1f} s idle ({seconds:g} s requested)",
            seconds=lasted,
            close_code=failure.close_code,
        ) from failure


def _matcher(expect: str, is_regex: bool) -> Callable[[Message], bool]:
    """Match a text against the whole message, except for a final line break, or search a regex."""
    if is_regex:
        try:
            pattern = re.compile(expect)
        except re.error as error:
            words = f"cannot be checked: the expect pattern is invalid: {error}"
            raise Failure("bad-expectation", words) from error
        return lambda message: pattern.search(_text(message)) is not None
    return lambda message: _text(message).rstrip("\r\n") == expect.rstrip("\r\n")


def _text(message: Message) -> str:
    return message if isinstance(message, str) else message.decode("utf-8", "replace")


def _shown(message: Message, probe: UpgradeProbe | Http2Probe) -> str:
    text = _text(message)
    if probe.send is not None and len(probe.send) > _TOKEN_LENGTH:
        text = text.replace(probe.send, "(what was sent)")
    return printable(text)


def _first_message_words(websocket: WebSocket) -> str:
    message = websocket.first_message
    if message is None:
        return ""
    if isinstance(message, bytes):
        return f"first message: {len(message):,} bytes of binary"
    kind = "JSON" if message.lstrip()[:1] in ("{", "[") else "text"
    return f"first message: {len(message.encode('utf-8')):,} bytes of {kind}"
