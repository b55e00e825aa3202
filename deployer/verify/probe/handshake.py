"""Carry out an `UpgradeProbe`: the opening handshake, what is said then, and the closing one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from deployer.verify.net.access import Access, translate_errors
from deployer.verify.net.answer import handshake_result
from deployer.verify.net.http1 import Head, read_body, read_head, request
from deployer.verify.net.redact import format_request, format_response
from deployer.verify.net.stream import Deadline, send
from deployer.verify.net.websocket import Message, OpeningHandshake, WebSocket
from deployer.verify.probe.attempt import Attempt, Failure, printable
from deployer.verify.probe.spec import UpgradeProbe

# A service that wants a login or a first message may close at once, and politely: it works all the
# same. RFC 6455, section 7.4: 1000 normal, 1005 no code, 1008 policy; 3000 to 4999 are its own.
POLITE_CLOSE_CODES = frozenset({1000, 1005, 1008, *range(3000, 5000)})
#: Shorter texts are words that any message may hold; longer ones may be somebody's token.
_TOKEN_LENGTH = 16


def attempt_upgrade(probe: UpgradeProbe, access: Access) -> Attempt:
    """Do what `probe` says. Never raises but where the way to the host itself is lost."""
    began = time.monotonic()
    timings_s = probe.timings_s
    head: Head | None = None
    body = b""
    subprotocol: str | None = None
    failure: Failure | None = None
    note = ""
    in_vain = _Vain()
    opening = OpeningHandshake(subprotocols=probe.subprotocols)
    headers = (*probe.headers, *opening.headers)
    try:
        with access.connect(
            probe.endpoint, server_name=probe.server_name, timings_s=timings_s
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
                note = _conversation(websocket, probe, access, timings_s, in_vain)
            finally:
                if websocket.first_message_at is not None:
                    timings_s["first_message"] = max(0.0, websocket.first_message_at - opened)
    except Failure as error:
        failure = error
    answer = handshake_result(
        probe, head, body=body, failure=failure, timings_s=timings_s, subprotocol=subprotocol
    )
    return Attempt(
        answer=answer,
        failure=failure,
        note=note,
        seconds=time.monotonic() - began - in_vain.seconds,
        request=format_request(probe.target, headers),
        response=format_response(head, body),
    )


@dataclass(slots=True)
class _Vain:
    """How long a first message was waited for that never came: our time, not the service's."""

    seconds: float = 0.0


def _conversation(
    websocket: WebSocket,
    probe: UpgradeProbe,
    access: Access,
    timings_s: dict[str, float],
    in_vain: _Vain,
) -> str:
    """All that is said on an open connection; returns what is worth telling of it."""
    if probe.subprotocols and websocket.subprotocol is None:
        websocket.close(access.until)
        offered = ", ".join(probe.subprotocols)
        raise Failure("subprotocol-missing", f"chose none of the subprotocols offered ({offered})")
    demands = probe.expect is not None or probe.hold_s is not None
    heard = Deadline(probe.listen_s, within=access.until)
    try:
        _say(websocket, probe, access)
        timings_s["ping"] = _ping(websocket, access, when="")
    except Failure as failure:
        if demands or failure.close_code not in POLITE_CLOSE_CODES:
            raise
        return f"the service {failure.words} right after the handshake"
    listened = time.monotonic()
    farewell = _listen(websocket, heard)
    if websocket.first_message is None:
        in_vain.seconds = time.monotonic() - listened
    if farewell:
        return farewell
    note = _first_words(websocket)
    if probe.hold_s is not None:
        _hold(websocket, probe.hold_s, access)
        _ping(websocket, access, when=f" after {probe.hold_s:g} s of silence")
        if probe.send is not None:
            _say(websocket, probe, access)
    websocket.close(access.until)
    return note


def _say(websocket: WebSocket, probe: UpgradeProbe, access: Access) -> None:
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
            raise _silent(websocket, access) from failure
        received = " · ".join(_shown(message, probe) for message in websocket.last_messages)
        arrived = f"received: {received}" if received else "no message at all was received"
        words = {
            "timeout": f"did not send the expected message within {access.timeout_s:g} s",
        }.get(failure.code, f"{failure.words} before the expected message came")
        raise Failure(
            "unexpected-message" if failure.code == "timeout" else failure.code,
            words,
            close_code=failure.close_code,
            evidence=arrived,
        ) from failure


def _silent(websocket: WebSocket, access: Access) -> Failure:
    """Nothing at all was said: does anybody live at the other end?"""
    _ping(websocket, access, when=" nor sent any message")
    limit = f"{access.timeout_s:g} s"
    words = f"opened the connection, answers pings, and sent no message within {limit}"
    return Failure("silent-after-upgrade", words)


def _ping(websocket: WebSocket, access: Access, *, when: str) -> float:
    try:
        with translate_errors("a ping", access.timeout_s):
            return websocket.ping(access.step())
    except Failure as failure:
        if failure.code != "timeout":
            raise
        words = f"did not answer a ping within {access.timeout_s:g} s{when}"
        raise Failure("no-pong", words) from failure


def _listen(websocket: WebSocket, heard: Deadline) -> str:
    """Give a first message its time; in words, how the service has ended the connection instead."""
    try:
        with translate_errors("the connection", 0):
            websocket.await_first_message(heard)
    except Failure as failure:
        if failure.code != "timeout":
            return f"the service {failure.words} soon after the handshake"
    return ""


def _hold(websocket: WebSocket, seconds: float, access: Access) -> None:
    began = time.monotonic()
    try:
        with translate_errors("the silence", seconds):
            websocket.stay_silent(seconds, access.until)
    except Failure as failure:
        lasted = time.monotonic() - began
        raise Failure(
            "idle-cut",
            f"{failure.words} after {lasted:.1f} s of silence ({seconds:g} s were asked for)",
            seconds=lasted,
            close_code=failure.close_code,
        ) from failure


def _matcher(expect: str, is_regex: bool) -> Callable[[Message], bool]:
    """A text is the whole message, but for a line break at its end; a pattern is searched for."""
    if is_regex:
        try:
            pattern = re.compile(expect)
        except re.error as error:
            words = f"cannot be asked: the pattern under expect is not valid: {error}"
            raise Failure("bad-expectation", words) from error
        return lambda message: pattern.search(_text(message)) is not None
    return lambda message: _text(message).rstrip("\r\n") == expect.rstrip("\r\n")


def _text(message: Message) -> str:
    return message if isinstance(message, str) else message.decode("utf-8", "replace")


def _shown(message: Message, probe: UpgradeProbe) -> str:
    text = _text(message)
    if probe.send is not None and len(probe.send) > _TOKEN_LENGTH:
        text = text.replace(probe.send, "(what was sent)")
    return printable(text)


def _first_words(websocket: WebSocket) -> str:
    message = websocket.first_message
    if message is None:
        return ""
    if isinstance(message, bytes):
        return f"first message: {len(message):,} bytes of binary"
    kind = "JSON" if message.lstrip()[:1] in ("{", "[") else "text"
    return f"first message: {len(message.encode('utf-8')):,} bytes of {kind}"
