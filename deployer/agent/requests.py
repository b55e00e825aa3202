"""Requests that change no resource, and those in other modules (docs/reference/protocol.md).

Modules that only some requests need are imported when one arrives: an apply without changes sends
`facts` and `probe` only.
"""

from __future__ import annotations

import os

from deployer.agent import settings
from deployer.agent.commit.managed import managed_now
from deployer.agent.commit.rollback import last_rollback
from deployer.agent.distribution import system
from deployer.agent.errors import Refusal, check_name
from deployer.agent.facts import facts
from deployer.agent.files import look_at
from deployer.agent.listeners import listeners
from deployer.agent.packages import package_versions
from deployer.agent.probe import Probe
from deployer.agent.proxies.shared import shared_parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from deployer.agent.session import Session
    from deployer.agent.settings import Json


def _listeners(ports: list[int] | None) -> list[Json]:
    return listeners(None if ports is None else [int(port) for port in ports])


def request_facts(session: Session, request: Json) -> Json:
    """Facts of the host, packages, listeners, shared files, and the state of deployer's commits."""
    names = [check_name(name) for name in request.get("packages", [])]
    state = session.state
    return {
        "facts": facts(),
        "system": system([check_name(name) for name in request.get("tools", [])]),
        "packages": package_versions(names, session.children) if names else {},
        "listeners": _listeners(request.get("ports", [])),
        "shared": shared_parts(state.sites),
        "deployer": {
            "lock": state.holder(),
            "pending": state.under_way(),
            "generation": state.last_generation(),
            "last": state.last_ended(),
            "rollback": last_rollback(state),
            "managed": managed_now(state),
            "owed": _owed(session),
            "proxies": state.proxies(),
        },
    }


def _owed(session: Session) -> list[Json]:
    if look_at(settings.OWED) is None:
        return []
    from deployer.agent.owed import owed_now

    return owed_now(session.children)


def request_probe(session: Session, request: Json) -> Json:
    """One observation for each of `resources`."""
    return {"observations": Probe(session.children).observe(request["resources"])}


def request_claim(session: Session, request: Json) -> Json:
    """Note what a playbook names; `is_noted` is false if another run holds the lock."""
    from deployer.agent.commit.managed import claim

    try:
        session.state.make()
        session.state.lock({"who": "a claim", "from": os.uname().nodename})
    except Refusal:
        return {"is_noted": False}
    try:
        claim(session.state, request["managed"])
    finally:
        session.state.unlock()
    return {"is_noted": True}


def request_history(session: Session, request: Json) -> Json:
    """All commits, newest first."""
    return {"generations": session.state.history()}


def request_undo(session: Session, request: Json) -> Json:
    """What a rollback to the generation `to` wants."""
    from deployer.agent.commit.undo import Undo

    return Undo(session.state, request.get("to")).reply()


def request_certificates(session: Session, request: Json) -> Json:
    """Certificates in use, their status and their renewal."""
    from deployer.agent.certificates.requests import certificates

    return certificates(session, request)


def request_connections(session: Session, request: Json) -> Json:
    """The open connections of proxies."""
    from deployer.agent.proxies.connections import connections

    return connections(session, request)


def request_holders(session: Session, request: Json) -> Json:
    """The processes that accept the connections to each of `endpoints`."""
    from deployer.agent.holders import holders

    return {"holders": holders(session.children, request["endpoints"])}


def request_places(session: Session, request: Json) -> Json:
    """How many process slots a proxy has."""
    from deployer.agent.proxies.readiness import places

    return places(session, request)


def request_inspect(session: Session, request: Json) -> Json:
    """Configuration, logs and processes of proxies."""
    from deployer.agent.proxies.inspect import inspect

    return inspect(session, request)


REQUESTS: dict[str, Callable[[Session, Json], Json]] = {
    "facts": request_facts,
    "probe": request_probe,
    "claim": request_claim,
    "history": request_history,
    "undo": request_undo,
    "certificates": request_certificates,
    "connections": request_connections,
    "holders": request_holders,
    "places": request_places,
    "inspect": request_inspect,
}
