"""Run an `HttpProbe`: one GET request, and the beginning of its response."""

from __future__ import annotations

import time

from deployer.verify.net.access import Access, translate_errors
from deployer.verify.net.answer import handshake_result
from deployer.verify.net.http1 import Head, read_body, read_head, request
from deployer.verify.net.redact import format_request, format_response
from deployer.verify.net.stream import send
from deployer.verify.probe.attempt import Attempt, Failure
from deployer.verify.probe.spec import HttpProbe


def attempt_get(probe: HttpProbe, access: Access) -> Attempt:
    """Send the request; any HTTP response is a success here and is judged later."""
    began = time.monotonic()
    timings_s = probe.timings_s
    head: Head | None = None
    body = b""
    failure: Failure | None = None
    facts: dict[str, str] = {}
    try:
        with access.connect(
            probe.endpoint, server_name=probe.server_name, timings_s=timings_s, facts=facts
        ) as stream:
            limit_s = min(probe.limit_s or access.timeout_s, access.timeout_s)
            deadline = access.step(limit_s)
            with translate_errors("the request", limit_s):
                send(stream, request(probe.target, probe.headers), deadline)
                head = read_head(stream, deadline)
                if head.status_code != 101:
                    body = read_body(stream, head, deadline, most_bytes=probe.body_bytes)
    except Failure as error:
        failure = error
    answer = handshake_result(probe, head, body=body, failure=failure, timings_s=timings_s)
    return Attempt(
        answer=answer,
        failure=failure,
        facts=facts,
        seconds=time.monotonic() - began,
        request=format_request(probe.target, probe.headers, hidden=probe.hidden),
        response=format_response(head, body),
    )
