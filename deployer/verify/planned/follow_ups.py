"""Plan the follow-ups of a failed check, which distinguish causes that look alike. Pure.

Each is one more request that changes a single thing: the address, the Host, or the Origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, TypeVar

from deployer.text.numbers import is_number
from deployer.verify.planned.model import PlannedCheck
from deployer.verify.probe.attempt import Attempt
from deployer.verify.probe.spec import HttpProbe, Probe, UpgradeProbe

FollowUp = Literal[
    "rewritten",
    "without-port",
    "without-origin",
    "without-subprotocols",
    "directly-without-origin",
    "without-forwarded",
]

_BAD_REQUEST, _FORBIDDEN = 400, 403

_Http = TypeVar("_Http", bound=HttpProbe)


def follow_ups(
    check: PlannedCheck, attempt: Attempt, peer: Attempt | None
) -> Mapping[FollowUp, Probe]:
    """Return the probes that explain the failed `attempt`; `peer` went directly to the service.

    Directly to the service: ``rewritten`` with the service's own address as Host, like a proxy that
    does not keep the client's; ``without-port`` with Host without its port;
    ``without-subprotocols``; ``directly-without-origin``; ``without-forwarded``, as from a client
    that is no proxy. Through the proxy: ``without-origin``.
    """
    asked = check.probe if check.hop == "backend" else check.peer
    directly = attempt if check.hop == "backend" else peer
    if attempt.status_code in (None, 101) or not isinstance(asked, UpgradeProbe):
        return {}
    if directly is None:
        return {}
    if directly.failure is not None:
        return _of_service(asked, directly)
    if check.hop != "proxy" or not isinstance(check.probe, UpgradeProbe):
        return {}
    probes: dict[FollowUp, Probe] = {}
    if 400 <= (attempt.status_code or 0) < 500:
        probes["rewritten"] = with_header(asked, "Host", own_host(asked))
        host = dict(asked.headers)["Host"]
        if _has_port(host):
            probes["without-port"] = with_header(asked, "Host", host.rpartition(":")[0])
        if "Origin" in dict(check.probe.headers):
            probes["without-origin"] = with_header(check.probe, "Origin", None)
    return probes


def _of_service(asked: UpgradeProbe, refused: Attempt) -> Mapping[FollowUp, Probe]:
    """Return the follow-ups of a handshake that the service itself refuses."""
    probes: dict[FollowUp, Probe] = {}
    if asked.subprotocols and refused.status_code not in (None, 101):
        probes["without-subprotocols"] = replace(asked, subprotocols=())
    if refused.status_code == _FORBIDDEN and "Origin" in dict(asked.headers):
        probes["directly-without-origin"] = with_header(asked, "Origin", None)
    if refused.status_code == _BAD_REQUEST and without_forwarded(asked) != asked:
        probes["without-forwarded"] = without_forwarded(asked)
    return probes


def without_forwarded(probe: _Http) -> _Http:
    """Return `probe` without the headers of a proxy."""
    forwarded = ("X-Forwarded-", "X-Real-")
    kept = tuple(row for row in probe.headers if not row[0].startswith(forwarded))
    return replace(probe, headers=kept)


def own_host(probe: HttpProbe) -> str:
    """Return the Host that a proxy sends if it uses the address of the upstream."""
    return "localhost" if probe.endpoint.socket else str(probe.endpoint)


def with_header(probe: _Http, name: str, value: str | None) -> _Http:
    """Return `probe` with a different value of that header, or without it."""
    kept = tuple((key, old) for key, old in probe.headers if key != name)
    first = ((name, value),) if value is not None else ()
    return replace(probe, headers=(*first, *kept))


def _has_port(host: str) -> bool:
    return is_number(host.rpartition(":")[2]) and not host.endswith("]")
