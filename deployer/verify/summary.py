"""Summarise a verification in a few lines, which the host keeps with a confirmed commit. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from deployer.model import CheckResult, Hop

_HOPS: Mapping[Hop, str] = {"proxy": "proxy", "backend": "service", "public": "public"}


def summary_lines(checks: Sequence[CheckResult]) -> list[str]:
    """Return one line for each kind of passed check: handshakes, refusals, certificates, the rest.

    The lines continue "verified by": ``3 handshakes (chat.example.com/ws: proxy 12 ms, service
    3 ms)``, ``TLS until 2027-02-19 (chat.example.com)``, ``4 more checks: redirect to https, …``.
    """
    passed = [check for check in checks if check.ok]
    shaken = [check for check in passed if check.name == "handshake" and not check.skipped]
    handshakes = [check for check in shaken if not _is_refused(check)]
    refused = [check for check in shaken if _is_refused(check)]
    certificates = [check for check in passed if check.valid_until]
    others = [each for each in passed if each.name != "handshake" and each not in certificates]
    return [
        *_handshakes(handshakes),
        *_refused(refused),
        *_certificates(certificates),
        *_others(others),
    ]


def _is_refused(check: CheckResult) -> bool:
    return check.handshake is not None and check.handshake.status_code != 101


def _refused(checks: Sequence[CheckResult]) -> Iterable[str]:
    """No connection was opened: the service refuses it, and the proxy changes nothing."""
    places = dict.fromkeys(f"{check.site}{check.target.partition(' at ')[0]}" for check in checks)
    if checks:
        yield f"{_counted(len(checks), 'refusal')} of the service, unchanged ({', '.join(places)})"


def _handshakes(checks: Sequence[CheckResult]) -> Iterable[str]:
    times: dict[str, list[str]] = {}
    for check in checks:
        place = check.target.partition(" at ")[0]
        place = f"{check.site}{place}" if place.startswith("/") else place
        times.setdefault(place, []).append(f"{_HOPS[check.hop]} {check.seconds * 1000:.0f} ms")
    if checks:
        places = "; ".join(f"{place}: {', '.join(hops)}" for place, hops in times.items())
        yield f"{_counted(len(checks), 'handshake')} ({places})"


def _certificates(checks: Sequence[CheckResult]) -> Iterable[str]:
    names: dict[str, list[str]] = {}
    for check in checks:
        names.setdefault(check.valid_until, []).append(check.target)
    for day, found in sorted(names.items()):
        yield f"TLS until {day} ({', '.join(found)})"


def _others(checks: Sequence[CheckResult]) -> Iterable[str]:
    if checks:
        names = ", ".join(dict.fromkeys(check.name for check in checks))
        yield f"{_counted(len(checks), 'more check')}: {names}"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
