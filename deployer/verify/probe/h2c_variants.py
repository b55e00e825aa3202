"""Carry out a `VariantsProbe`: of the answers to all spellings, the one that matters most."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from deployer.verify.net.access import Access
from deployer.verify.probe.attempt import Attempt
from deployer.verify.probe.http_get import attempt_get
from deployer.verify.probe.spec import HttpProbe, VariantsProbe


def attempt_variants(probe: VariantsProbe, access: Access) -> Attempt:
    """Send all, side by side; an answer that opens something is returned before any other."""
    probes: list[HttpProbe] = [replace(probe, headers=each) for each in probe.others]
    with ThreadPoolExecutor(len(probes) + 1, thread_name_prefix="verify-spelling") as pool:
        futures = [pool.submit(attempt_get, each, access) for each in (probe, *probes)]
        attempts = [future.result() for future in futures]
    return next((attempt for attempt in attempts if is_tunnel(attempt)), attempts[0])


def is_tunnel(attempt: Attempt) -> bool:
    """Whether something was opened; a WebSocket that a service opens unasked is no HTTP/2."""
    return attempt.status_code == 101 and upgraded_to(attempt) != "websocket"


def upgraded_to(attempt: Attempt) -> str:
    """What the answer's Upgrade names, in lower case."""
    headers = attempt.answer.headers
    return next((value.lower() for name, value in headers if name.lower() == "upgrade"), "")
