"""What a verification has shown, in few words: kept on the host with a confirmed commit. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from deployer.model import CheckResult, Hop

_HOPS: Mapping[Hop, str] = {"proxy": "proxy", "backend": "service", "public": "public"}


def summary_lines(checks: Sequence[CheckResult]) -> list[str]:
    """Passed checks as a line a kind: handshakes with their times, certificates, and the rest.

    The lines read on from "verified by": ``3 handshakes (chat.example.com/ws: proxy 12 ms, service
    3 ms)``, ``TLS until 2027-02-19 (chat.example.com)``, ``4 more checks: redirect to https, …``.
    """
    passed = [check for check in checks if check.ok]
    shaken = [check for check in passed if check.name == "handshake"]
    dated = [check for check in passed if check.valid_until]
    others = [check for check in passed if check not in shaken and check not in dated]
    return [*_handshakes(shaken), *_certificates(dated), *_others(others)]


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
