"""Faults by which nginx itself refuses a handshake: conditions, access lists, logins, limits."""

from __future__ import annotations

import re
from collections.abc import Iterator

from deployer.proxies.inspect.model import Fault, fault
from deployer.proxies.nginx.config import Directive
from deployer.proxies.nginx.path import Trace
from deployer.text.numbers import is_number

_OF_REFUSAL = frozenset(
    {
        *("wrong-route", "origin-blocked", "upgrade-not-forwarded", "page-instead"),
        *("login-required", "handshake-refused"),
    }
)
_OF_LIMIT = frozenset({"bad-gateway", "wrong-route", "timeout", "connections-exhausted"})


def faults(trace: Trace) -> Iterator[Fault]:
    """The faults; each explains only the status that it answers with."""
    refusing = trace.refusing
    if refusing is not None:
        yield _of_condition(*refusing, trace)
    yield from _of_access(trace)
    yield from _of_login(trace)
    yield from _of_limits(trace)


def _of_condition(condition: Directive, answer: Directive, trace: Trace) -> Fault:
    words = answer.words[0] if answer.words else ""
    status = int(words) if is_number(words) else 302
    place = _origin_map(condition, trace)
    is_origin = place is not None and status == 403
    also = f"; {place.where} decides that" if place is not None and place != condition else ""
    return fault(
        (place or answer),
        code="origin-blocked" if is_origin else "handshake-refused",
        explains=_OF_REFUSAL | {"redirected", "https-redirect"},
        cause=f"{_shown(condition)} matches this handshake, and {answer} answers it{also}.",
        fix=(
            "Add the page's origin to the allowed origins."
            if is_origin
            else "Exclude this handshake from the condition, or remove the condition."
        ),
        statuses=frozenset({status}),
        is_certain=True,
    )


def _shown(condition: Directive) -> str:
    return f"if ({' '.join(condition.words)})"


def _origin_map(condition: Directive, trace: Trace) -> Directive | None:
    """The directive that checks Origin for a condition: itself, or the map of its variable."""
    text, place = " ".join(condition.words), condition
    for _ in range(5):
        if "$http_origin" in text:
            return place
        names = re.findall(r"\$\{?(\w+)", text)
        maps = [trace.values.maps[name][-1] for name in names if name in trace.values.maps]
        if not maps:
            return None
        place = next((each for each in maps if "$http_origin" in each.words[0]), maps[0])
        text = place.words[0]
    return None


def _of_access(trace: Trace) -> Iterator[Fault]:
    level = trace.match.level("allow", "deny")
    denying = next(iter(level.all("deny")), None) if level is not None else None
    if denying is not None:
        yield fault(
            denying,
            code="handshake-refused",
            explains=_OF_REFUSAL,
            cause=f"nginx admits only some addresses here: {denying} applies.",
            fix="Allow the clients' addresses before that line, or exclude this path from it.",
            directive="allow …;",
            statuses=frozenset({403}),
            is_by_address=True,
        )


def _of_login(trace: Trace) -> Iterator[Fault]:
    for name in ("auth_basic", "auth_request", "auth_jwt"):
        said = trace.match.value(name)
        if said is not None and said.words[:1] != ("off",):
            yield fault(
                said,
                code="login-required",
                explains=_OF_REFUSAL,
                cause=(
                    f"nginx asks a service whether this handshake may pass ({said}), and it has no"
                    " session that this service accepts."
                    if name == "auth_request"
                    else f"nginx itself requires a login here ({said.name}), which not every"
                    " WebSocket client can provide."
                ),
                fix=(
                    "Send a valid session with the handshake, such as the Cookie of a login, or set"
                    " auth_request off for this path."
                    if name == "auth_request"
                    else f"Set {name} off for this path, or let the service authenticate."
                ),
                directive=f"{name} off;",
                statuses=frozenset({401, 403} if name == "auth_request" else {401}),
                is_certain=name != "auth_request",
            )


def _of_limits(trace: Trace) -> Iterator[Fault]:
    for name in ("limit_req", "limit_conn"):
        said = trace.match.value(name)
        if said is None:
            continue
        status = trace.match.value(f"{name}_status")
        words = status.words[0] if status is not None and status.words else "503"
        yield fault(
            said,
            code="connections-exhausted",
            explains=_OF_LIMIT,
            cause=(
                f"nginx limits requests here: {said} applies, and answers {words}"
                " to those above the limit."
            ),
            fix="Raise the limit or its burst for this path: each handshake is a request.",
            directive=f"{said.name} …;",
            statuses=frozenset({int(words) if is_number(words) else 503}),
            tell='nginx\'s error log has "limiting requests" or "limiting connections".',
        )
