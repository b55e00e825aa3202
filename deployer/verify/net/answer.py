"""One request and its response, as the core type that reports are made of."""

from __future__ import annotations

from collections.abc import Mapping

from deployer.model import HandshakeResult
from deployer.verify.net.http1 import Head
from deployer.verify.net.redact import without_secrets
from deployer.verify.probe.attempt import Failure
from deployer.verify.probe.spec import HttpProbe


def handshake_result(
    probe: HttpProbe,
    head: Head | None,
    *,
    body: bytes,
    failure: Failure | None,
    timings_s: Mapping[str, float],
    subprotocol: str | None = None,
) -> HandshakeResult:
    """Return the result of `probe`; `head` is `None` if there was no response."""
    return HandshakeResult(
        uri=without_secrets(probe.uri),
        hop=probe.hop,
        status_code=head.status_code if head else None,
        headers=head.headers if head else (),
        subprotocol=subprotocol,
        timings_s=timings_s,
        body=body,
        error=failure.words if failure else None,
    )
