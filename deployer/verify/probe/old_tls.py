"""Run an `OldTlsProbe`: a handshake that offers at most TLS 1.1, up to ServerHelloDone.

It is hand-written, because this machine's OpenSSL may refuse to offer such versions. The handshake
is not finished: a peer that sends its whole part has shown that it accepts the version.

Source: RFC 4346, sections 6.2 and 7.4; RFC 8996 deprecates both versions.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time

from deployer.model import HandshakeResult
from deployer.verify.net.access import Access, translate_tls_errors
from deployer.verify.net.stream import Deadline, Stream, receive, send
from deployer.verify.probe.attempt import Attempt, Failure
from deployer.verify.probe.spec import OldTlsProbe

_VERSIONS = {b"\x03\x01": "TLS 1.0", b"\x03\x02": "TLS 1.1"}
_HANDSHAKE, _ALERT = 22, 21
_SERVER_HELLO, _SERVER_HELLO_DONE = 2, 14
_MOST_BYTES = 256 * 1024
# ECDHE, DHE and RSA key exchange, each with AES and the last also with 3DES; then the signalling
# value for secure renegotiation (RFC 5746).
_SUITES = bytes.fromhex("c009c013c00ac0140033003900320038002f0035000a00ff")


def attempt_old_tls(probe: OldTlsProbe, access: Access) -> Attempt:
    """Offer TLS 1.1 and 1.0; ``version`` in the attempt's `facts` is the accepted one."""
    began = time.monotonic()
    failure: Failure | None = None
    facts: dict[str, str] = {}
    try:
        version = _accepted_version(probe, access)
        if version:
            facts["version"] = version
    except Failure as error:
        failure = error
    words = failure.words if failure else None
    answer = HandshakeResult(uri=probe.uri, hop=probe.hop, error=words)
    return Attempt(answer=answer, failure=failure, seconds=time.monotonic() - began, facts=facts)


def _accepted_version(probe: OldTlsProbe, access: Access) -> str:
    deadline = access.step()
    stream = access.open_stream(probe.endpoint, deadline)
    try:
        with translate_tls_errors(access.timeout_s):
            send(stream, client_hello(probe.server_name), deadline)
            return _version_of(stream, deadline)
    finally:
        with contextlib.suppress(OSError, EOFError):
            stream.close()


def client_hello(server_name: str | None) -> bytes:
    """Return a ClientHello that offers at most TLS 1.1, in its record."""
    extensions = b""
    if server_name is not None and not server_name.replace(".", "").isdigit():
        name = server_name.encode("ascii", "ignore")
        entry = b"\x00" + struct.pack("!H", len(name)) + name
        extensions += _extension(0, struct.pack("!H", len(entry)) + entry)
    extensions += _extension(10, bytes.fromhex("0008001d001700180019"))  # the usual groups
    extensions += _extension(11, bytes.fromhex("0100"))  # uncompressed points
    body = b"\x03\x02" + os.urandom(32) + b"\x00"
    body += struct.pack("!H", len(_SUITES)) + _SUITES + b"\x01\x00"
    body += struct.pack("!H", len(extensions)) + extensions
    message = b"\x01" + struct.pack("!I", len(body))[1:] + body
    return b"\x16\x03\x01" + struct.pack("!H", len(message)) + message


def _extension(number: int, data: bytes) -> bytes:
    return struct.pack("!HH", number, len(data)) + data


def _version_of(stream: Stream, deadline: Deadline) -> str:
    """Return the version in which the peer completed its part; empty if it refused."""
    data, messages = bytearray(), bytearray()
    while len(data) + len(messages) < _MOST_BYTES:
        try:
            more = receive(stream, deadline)
        except (ConnectionResetError, BrokenPipeError):
            return ""
        if not more:
            return ""
        data += more
        while len(data) >= 5 and len(data) >= 5 + int.from_bytes(data[3:5], "big"):
            end = 5 + int.from_bytes(data[3:5], "big")
            if data[0] == _ALERT:
                return ""
            if data[0] != _HANDSHAKE:
                raise Failure("no-tls", "answered the TLS handshake with something that is not TLS")
            messages += data[5:end]
            del data[:end]
        version = _finished(bytes(messages))
        if version is not None:
            return version
    return ""


def _finished(messages: bytes) -> str | None:
    """Return the version once ServerHelloDone has arrived, and `None` until then."""
    version, place = "", 0
    while place + 4 <= len(messages):
        kind = messages[place]
        end = place + 4 + int.from_bytes(messages[place + 1 : place + 4], "big")
        if end > len(messages):
            return None
        if kind == _SERVER_HELLO:
            version = _VERSIONS.get(messages[place + 4 : place + 6], "")
            if not version:
                return ""
        if kind == _SERVER_HELLO_DONE:
            return version
        place = end
    return None
