"""Check name, connection, TLS and certificate, as seen from this machine. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.diagnose.outside import ConnectResult, Observations
from deployer.diagnose.reasons.findings import alternatives, finding
from deployer.model import CheckResult, Finding
from deployer.proxies import PROXIES
from deployer.proxies.words import in_each
from deployer.verify.judge import server_findings
from deployer.verify.net.redact import without_secrets
from deployer.verify.probe.attempt import Attempt, Failure
from deployer.verify.probe.certificate import may_be_complete

_CERTIFICATE_FAILURES = {
    "tls-wrong-name": (
        (
            "The server presents another site's certificate for {name}: it has no site with that"
            " name, or its certificate was issued before the name was added."
        ),
        "Issue a certificate with {name}, and configure it for the site of that name.",
    ),
    "tls-expired": (
        ("It was not renewed, the server was not reloaded after the renewal, or a clock is wrong."),
        "Compare the certificate file on the host with the one served; then reload or renew.",
    ),
    "tls-incomplete-chain": (
        (
            "The server sends the certificate without that of its issuer. Browsers may fetch or"
            " cache the missing one; other programs do not, so they fail although browsers work."
        ),
        (
            "Put the certificate followed by its intermediates (fullchain.pem) into the server's"
            " certificate file."
        ),
    ),
    "tls-untrusted": (
        (
            "This machine does not trust its issuer: it is a distribution's placeholder, from a"
            " private CA, or from someone who intercepts the connection."
        ),
        "Use a certificate from a public CA; for a private CA, use --ca-bundle FILE.",
    ),
}


def results(seen: Observations) -> Iterator[CheckResult]:
    """Return the checks of the name, and of every address of it."""
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
    for connection in seen.connections:
        yield _connection_result(seen, connection)


def _unresolved(seen: Observations) -> Finding:
    name = seen.address.name
    return finding(
        "name-unresolved",
        hop="public",
        symptom=f"{name} {seen.lookup.problem}",
        cause="According to DNS, there is no A or AAAA record for that name; a name that was just"
        " added may still be cached as missing.",
        fix="Add the record, or correct the name. To test a machine before DNS points to it, use"
        f" --resolve {name}:{seen.address.port}:ADDRESS",
    )


def _connection_result(seen: Observations, connection: ConnectResult) -> CheckResult:
    problem = _connection_problem(seen, connection)
    is_skipped = connection.problem == "no-way" and problem is None
    return CheckResult(
        site=seen.address.name,
        name="connect",
        target=_at(connection),
        hop=problem.hop if problem else "public",
        ok=problem is None or problem.severity != "error",
        detail=f"{connection.words}: this machine has no route there"
        if is_skipped
        else connection.words,
        seconds=connection.seconds,
        finding=problem,
        skipped=is_skipped,
    )


def _connection_problem(seen: Observations, connection: ConnectResult) -> Finding | None:
    if not connection.problem:
        return None
    others = [other for other in seen.connections if other != connection]
    if connection.problem == "no-way" and any(other.problem != "no-way" for other in others):
        return None  # a machine without IPv6 cannot test an IPv6 address
    if seen.is_reached:
        return _partly_unreachable(seen, connection)
    if connection != seen.connections[0]:
        return None  # the first one has the finding
    return _unreachable(seen, connection)


def _partly_unreachable(seen: Observations, connection: ConnectResult) -> Finding:
    alive = next(each for each in seen.connections if not each.problem)
    return finding(
        "unreachable-from-here" if connection.problem != "refused" else "proxy-down",
        hop="public" if connection.problem != "refused" else "proxy",
        severity="warning",
        symptom=f"{seen.address.name} also resolves to {_at(connection)}, which {connection.words}",
        cause=f"{_at(alive)} answers, but not this one: clients that try it first wait or fail"
        + (
            ". The proxy does not listen on IPv6, although DNS has an AAAA record."
            if ":" in connection.address and connection.problem == "refused"
            else "."
        ),
        fix="Make the proxy listen there too"
        f" ({in_each(lambda words: words.ipv6_listen)}), or remove the record.",
    )


def _unreachable(seen: Observations, connection: ConnectResult) -> Finding:
    connections = [each for each in seen.connections if each.problem != "no-way"] or list(
        seen.connections
    )
    where = " and ".join(_at(each) for each in connections)
    other = next((each for each in seen.other_connections if not each.problem), None)
    all_refuse = all(each.problem == "refused" for each in connections)
    verb = "refuse" if len(connections) > 1 else "refuses"
    if all_refuse:
        alive = (
            f" The machine is up: its port {other.port} accepts connections, so a server runs but"
            f" does not listen on {connection.port}."
            if other
            else ""
        )
        return finding(
            "proxy-down",
            hop="proxy",
            symptom=f"{seen.address.uri}: {where} {verb} connections",
            cause=f"Nothing listens on port {connection.port}.{alive}",
            fix="On the host, run `systemctl status` for the proxy, `ss -ltnp`, and the proxy's own"
            " configuration test.",
            or_else=alternatives(
                *(("reload-not-taken",) if other else (*_gone_codes(), "config-invalid")),
                "unreachable-from-here",
            ),
        )
    words = connection.words if len(connections) == 1 else "do not answer"
    or_else = alternatives(
        "proxy-down", proxy_down="the machine is off, or the address is outdated"
    )
    return finding(
        "unreachable-from-here",
        hop="public",
        symptom=f"{seen.address.uri}: {where} {words}",
        cause="A firewall on the path drops the packets, or no machine has that address."
        + (f" Port {other.port} of the same machine does answer." if other else ""),
        fix=f"Open port {connection.port} in the firewall and the provider's security group; check"
        " that the address in DNS is the machine's own.",
        or_else=() if other else or_else,
    )


def _at(connection: ConnectResult) -> str:
    host = f"[{connection.address}]" if ":" in connection.address else connection.address
    return f"{host}:{connection.port}"


# --- TLS ------------------------------------------------------------------------------------------


def certificate_result(seen: Observations, attempt: Attempt) -> CheckResult:
    """Whether a strict client accepts the certificate."""
    failure = attempt.failure
    uri = f"https://{seen.address.host}"
    found = server_findings.expires_soon(uri, attempt, hop="proxy")
    if failure is not None:
        cause, fix = _CERTIFICATE_FAILURES.get(
            failure.code,
            (
                "TLS succeeds for a client that accepts any certificate, but not for a strict one.",
                "Check the server's certificate and its TLS settings.",
            ),
        )
        name = seen.address.name
        code = failure.code if failure.code in _CERTIFICATE_FAILURES else "tls-failed"
        found = finding(
            code,
            hop="proxy",
            symptom=f"https://{seen.address.host} {failure.words}",
            cause=cause.format(name=name),
            fix=fix.format(name=name),
            attempt=attempt,
            or_else=alternatives("tls-untrusted") if may_be_complete(failure) else (),
        )
    return CheckResult(
        site=seen.address.name,
        name="certificate",
        target=f"https://{seen.address.host}",
        hop=found.hop if found else "public",
        ok=found is None or found.severity != "error",
        detail=failure.words if failure else attempt.note,
        seconds=attempt.seconds,
        valid_until=attempt.facts.get("valid_until", ""),
        finding=found,
    )


def stopped_result(seen: Observations, attempt: Attempt, failure: Failure) -> CheckResult:
    """Return the check of a TLS handshake that fails."""
    found = connect_finding(seen, attempt, failure)
    return CheckResult(
        site=seen.address.name,
        name="certificate",
        target=f"https://{seen.address.host}",
        hop=found.hop,
        ok=False,
        detail=failure.words,
        seconds=attempt.seconds,
        finding=found,
    )


def connect_finding(seen: Observations, attempt: Attempt, failure: Failure) -> Finding:
    """Return the finding if no request could be sent, or if it was answered with TLS."""
    address = seen.address
    symptom = f"{without_secrets(address.uri)} {failure.words}"
    if failure.code == "no-tls":
        return finding(
            "tls-not-spoken",
            hop="proxy",
            symptom=symptom,
            cause=f"The server on port {address.port} does not speak TLS there, but apparently"
            " plain HTTP.",
            fix=f"Use {address.websocket_uri.replace('wss', 'ws', 1)} if that is intended, or"
            f" enable TLS on the port ({in_each(lambda words: words.tls_port)}).",
            attempt=attempt,
        )
    if failure.code == "speaks-tls":
        return finding(
            "plain-http-on-https",
            hop="proxy",
            symptom=symptom,
            cause=f"Port {address.port} is a TLS port, and ws:// is plain HTTP.",
            fix=f"Use wss://{address.host}{without_secrets(address.target)}",
            attempt=attempt,
        )
    if failure.code == "tls-stalled":
        return _stalled(attempt, symptom)
    if failure.code in ("tls-failed", "tls-closed"):
        return finding(
            "tls-failed",
            hop="proxy",
            symptom=symptom,
            cause=f"The server aborts the handshake: it has no certificate for {address.name}, no"
            " common TLS version or cipher (TLS 1.2 and 1.3 were offered), does not offer HTTP/1.1,"
            " or requires a client certificate.",
            fix="Check the site's certificate and TLS settings, and the proxy's error log.",
            attempt=attempt,
            or_else=alternatives("connections-exhausted") if failure.code == "tls-closed" else (),
        )
    return finding(
        "connection-dropped",
        hop="public",
        symptom=symptom,
        cause="Connections were accepted a moment ago, and now they are not: the server restarts,"
        " or a rate limit applies to connections from here.",
        fix="Try again; check the proxy's error log, and firewalls with rate limits.",
        attempt=attempt,
    )


def _stalled(attempt: Attempt, symptom: str) -> Finding:
    return finding(
        "tls-stalled",
        hop="proxy",
        symptom=symptom,
        cause="The connection is accepted, but the TLS handshake does not continue: the system"
        " accepts connections for a server that has no free worker, hangs, or is not a TLS server.",
        fix="On the host, check the proxy's error log, and its numbers of workers and connections.",
        attempt=attempt,
        or_else=alternatives(
            "threads-exhausted",
            "scoreboard-full",
            "files-exhausted",
            "connections-exhausted",
            "unreachable-from-here",
            unreachable_from_here="large packets are lost on the path (MTU): it works from a"
            " different network",
        ),
    )


def _gone_codes() -> tuple[str, ...]:
    """Return the codes of proxies that exit after a failed reload."""
    return tuple(code for proxy in PROXIES.values() if (code := proxy.words.gone) != "proxy-down")
