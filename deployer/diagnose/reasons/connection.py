"""Name, connection, TLS and certificate, as seen from here. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.diagnose.outside import Door, Observations
from deployer.diagnose.reasons.findings import alternatives, finding
from deployer.model import CheckResult, Finding
from deployer.verify.judge import server_findings
from deployer.verify.net.redact import without_secrets
from deployer.verify.probe.attempt import Attempt, Trouble
from deployer.verify.probe.certificate import may_be_whole

_ABOUT_THE_CHAIN = {
    "tls-wrong-name": (
        (
            "The server shows another site's certificate to those who ask for {name}: no site of"
            " that name is set up there, or its certificate was made before the name was added."
        ),
        "Let the certificate hold {name}, and let the site of that name point at it.",
    ),
    "tls-expired": (
        (
            "It was not renewed, it was renewed and the server has not been reloaded since, or a"
            " clock is wrong."
        ),
        "Compare the certificate file on the host with what is served here; reload, or renew.",
    ),
    "tls-incomplete-chain": (
        (
            "The server sends the certificate without that of its issuer. Browsers may fetch or"
            " remember the missing one; programs do not, so they fail where a browser works."
        ),
        (
            "Let the server's certificate file hold the certificate and, after it, the"
            " intermediates (fullchain.pem)."
        ),
    ),
    "tls-untrusted": (
        (
            "Nobody whom this machine trusts has issued it: a distribution's placeholder, a CA of"
            " one's own, or somebody in between who reads along."
        ),
        "Use a certificate of a public CA; for a CA of one's own, give --ca-bundle FILE here.",
    ),
}


def results(seen: Observations) -> Iterator[CheckResult]:
    """The name, and every address of it."""
    address = seen.address
    if not address.is_literal:
        found = ", ".join(seen.lookup.addresses) or seen.lookup.problem
        given = " (--resolve)" if seen.lookup.is_overridden else ""
        problem = None if seen.lookup.addresses else _unresolved(seen)
        yield CheckResult(
            site=address.name,
            name="name",
            target=address.name,
            hop="public",
            ok=problem is None,
            detail=found + given,
            seconds=seen.lookup.seconds,
            finding=problem,
        )
    for door in seen.doors:
        yield _door_result(seen, door)


def _unresolved(seen: Observations) -> Finding:
    name = seen.address.name
    return finding(
        "name-unresolved",
        hop="public",
        symptom=f"{name} {seen.lookup.problem}",
        cause="There is no A or AAAA record of that name, as DNS answers here; a name that was"
        " added a moment ago may still be remembered as missing.",
        fix="Make the record, or correct the name. To ask a certain machine before DNS leads"
        f" there: --resolve {name}:{seen.address.port}:ADDRESS",
    )


def _door_result(seen: Observations, door: Door) -> CheckResult:
    problem = _door_problem(seen, door)
    is_skipped = door.problem == "no-way" and problem is None
    return CheckResult(
        site=seen.address.name,
        name="connect",
        target=_at(door),
        hop=problem.hop if problem else "public",
        ok=problem is None or problem.severity != "error",
        detail=f"{door.words}: this machine has no way there" if is_skipped else door.words,
        seconds=door.seconds,
        finding=problem,
        skipped=is_skipped,
    )


def _door_problem(seen: Observations, door: Door) -> Finding | None:
    if not door.problem:
        return None
    others = [other for other in seen.doors if other != door]
    if door.problem == "no-way" and any(other.problem != "no-way" for other in others):
        return None  # a machine without IPv6 can say nothing of an IPv6 address
    if seen.is_reached:
        return _part_is_dead(seen, door)
    if door != seen.doors[0]:
        return None  # said of the first one
    return _nobody(seen, door)


def _part_is_dead(seen: Observations, door: Door) -> Finding:
    alive = next(each for each in seen.doors if not each.problem)
    return finding(
        "unreachable-from-here" if door.problem != "refused" else "proxy-down",
        hop="public" if door.problem != "refused" else "proxy",
        severity="warning",
        symptom=f"{seen.address.name} leads to {_at(door)} too, which {door.words}",
        cause=f"{_at(alive)} answers, this one does not: clients that try it first wait or fail"
        + (
            ". The proxy does not listen on IPv6, although DNS has an AAAA record."
            if ":" in door.address and door.problem == "refused"
            else "."
        ),
        fix="Let the proxy listen there too (nginx: listen [::]:443), or take the record away.",
    )


def _nobody(seen: Observations, door: Door) -> Finding:
    doors = [each for each in seen.doors if each.problem != "no-way"] or list(seen.doors)
    where = " and ".join(_at(each) for each in doors)
    other = next((each for each in seen.other_doors if not each.problem), None)
    all_refuse = all(each.problem == "refused" for each in doors)
    verb = "refuse" if len(doors) > 1 else "refuses"
    if all_refuse:
        alive = (
            f" The machine is up: its port {other.port} takes connections, so a server runs there"
            f" and does not listen on {door.port}."
            if other
            else ""
        )
        return finding(
            "proxy-down",
            hop="proxy",
            symptom=f"{seen.address.uri}: {where} {verb} connections",
            cause=f"Nothing listens on port {door.port}.{alive}",
            fix="On the host: `systemctl status` of the proxy, `ss -ltnp`, and the proxy's own"
            " test of its configuration.",
            or_else=alternatives(
                *(("reload-not-taken",) if other else ("apache-gone", "config-invalid")),
                "unreachable-from-here",
            ),
        )
    words = door.words if len(doors) == 1 else "do not answer"
    or_else = alternatives("proxy-down", proxy_down="the machine is off, or the address is old")
    return finding(
        "unreachable-from-here",
        hop="public",
        symptom=f"{seen.address.uri}: {where} {words}",
        cause="A firewall on the way drops what is sent there, or nobody has that address now."
        + (f" Port {other.port} of the same machine does answer." if other else ""),
        fix=f"Open port {door.port} in the firewall and the provider's security group; compare the"
        " address in DNS with the machine's own.",
        or_else=() if other else or_else,
    )


def _at(door: Door) -> str:
    host = f"[{door.address}]" if ":" in door.address else door.address
    return f"{host}:{door.port}"


# --- TLS ------------------------------------------------------------------------------------------


def certificate_result(seen: Observations, attempt: Attempt) -> CheckResult:
    """Whether a strict client accepts the certificate."""
    trouble = attempt.trouble
    uri = f"https://{seen.address.host}"
    found = server_findings.expires_soon(uri, attempt, hop="proxy")
    if trouble is not None:
        cause, fix = _ABOUT_THE_CHAIN.get(
            trouble.code,
            (
                "TLS comes about for a client that takes any certificate, not for a strict one.",
                "Look at the server's certificate and its TLS settings.",
            ),
        )
        name = seen.address.name
        code = trouble.code if trouble.code in _ABOUT_THE_CHAIN else "tls-failed"
        found = finding(
            code,
            hop="proxy",
            symptom=f"https://{seen.address.host} {trouble.words}",
            cause=cause.format(name=name),
            fix=fix.format(name=name),
            attempt=attempt,
            or_else=alternatives("tls-untrusted") if may_be_whole(trouble) else (),
        )
    return CheckResult(
        site=seen.address.name,
        name="certificate",
        target=f"https://{seen.address.host}",
        hop=found.hop if found else "public",
        ok=found is None or found.severity != "error",
        detail=trouble.words if trouble else attempt.note,
        seconds=attempt.seconds,
        valid_until=attempt.facts.get("valid_until", ""),
        finding=found,
    )


def stopped_result(seen: Observations, attempt: Attempt, trouble: Trouble) -> CheckResult:
    """TLS that does not come about at all."""
    found = door_finding(seen, attempt, trouble)
    return CheckResult(
        site=seen.address.name,
        name="certificate",
        target=f"https://{seen.address.host}",
        hop=found.hop,
        ok=False,
        detail=trouble.words,
        seconds=attempt.seconds,
        finding=found,
    )


def door_finding(seen: Observations, attempt: Attempt, trouble: Trouble) -> Finding:
    """No request could be sent, or it was answered with TLS."""
    address = seen.address
    symptom = f"{without_secrets(address.uri)} {trouble.words}"
    if trouble.code == "no-tls":
        return finding(
            "tls-not-spoken",
            hop="proxy",
            symptom=symptom,
            cause=f"What listens on port {address.port} speaks something else than TLS there,"
            " plain HTTP for all one can see.",
            fix=f"Use {address.websocket_uri.replace('wss', 'ws', 1)} if that is meant, or make"
            f" the port a TLS port (nginx: listen {address.port} ssl).",
            attempt=attempt,
        )
    if trouble.code == "speaks-tls":
        return finding(
            "plain-http-on-https",
            hop="proxy",
            symptom=symptom,
            cause=f"Port {address.port} is a TLS port, and ws:// is plain HTTP.",
            fix=f"Use wss://{address.host}{without_secrets(address.target)}",
            attempt=attempt,
        )
    if trouble.code == "tls-stalled":
        return finding(
            "tls-stalled",
            hop="proxy",
            symptom=symptom,
            cause="The connection is taken, and then nobody goes on with TLS: the system takes"
            " connections for a server that has no worker left to serve them, that hangs, or that"
            " is no TLS server at all.",
            fix="On the host: the proxy's error log, and how many workers and connections it has.",
            attempt=attempt,
            or_else=alternatives(
                "threads-exhausted",
                "scoreboard-full",
                "files-exhausted",
                "connections-exhausted",
                "unreachable-from-here",
                unreachable_from_here="large packets are lost on the way (MTU): it works from"
                " another network",
            ),
        )
    if trouble.code in ("tls-failed", "tls-closed"):
        return finding(
            "tls-failed",
            hop="proxy",
            symptom=symptom,
            cause=f"The server ends the handshake: it has no certificate for {address.name}, no TLS"
            " version or cipher in common (TLS 1.2 and 1.3 were offered), does not offer HTTP/1.1,"
            " or wants a certificate of the client.",
            fix="Look at the site's certificate and TLS settings, and at the proxy's error log.",
            attempt=attempt,
            or_else=alternatives("connections-exhausted") if trouble.code == "tls-closed" else (),
        )
    return finding(
        "connection-dropped",
        hop="public",
        symptom=symptom,
        cause="Connections were taken a moment before, and now they are not: it restarts, or"
        " something counts connections from here and refuses more.",
        fix="Try again; look at the proxy's error log, and at firewalls that limit rates.",
        attempt=attempt,
    )
