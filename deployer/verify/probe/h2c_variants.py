"""Run a `VariantsProbe`, and return the most important of all responses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from deployer.verify.net.access import Access
from deployer.verify.probe.attempt import Attempt
from deployer.verify.probe.http_get import attempt_get
from deployer.verify.probe.spec import HttpProbe, VariantsProbe


def attempt_variants(probe: VariantsProbe, access: Access) -> Attempt:
    """Send all variants concurrently; a response that opens a tunnel is returned first."""
    probes: list[HttpProbe] = [replace(probe, headers=each) for each in probe.others]
    with ThreadPoolExecutor(len(probes) + 1, thread_name_prefix="verify-variant") as pool:
        futures = [pool.submit(attempt_get, each, access) for each in (probe, *probes)]
        attempts = [future.result() for future in futures]
    return next((attempt for attempt in attempts if is_tunnel(attempt)), attempts[0])


def is_tunnel(attempt: Attempt) -> bool:
    """Whether a tunnel was opened; a WebSocket that a service opens unprompted is not HTTP/2."""
    return attempt.status_code == 101 and upgraded_to(attempt) != "websocket"


def upgraded_to(attempt: Attempt) -> str:
    """Return the value of the response's Upgrade header, in lower case."""
    headers = attempt.answer.headers
    return next((value.lower() for name, value in headers if name.lower() == "upgrade"), "")
