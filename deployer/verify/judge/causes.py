"""Causes and fixes of failures, as text. Pure.

Every function returns a `Diagnosis`: its code is stable and meant for programs; the rest is for
people, with the directives of the proxy in question.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from deployer.model import Alternative, Proxy
from deployer.proxies import PROXIES
from deployer.sites.model import Route
from deployer.verify.judge.protocol_errors import cause_and_fix
from deployer.verify.net.redact import without_secrets
from deployer.verify.probe.attempt import Attempt, Failure, printable
from deployer.verify.probe.certificate import may_be_complete
from deployer.verify.probe.spec import Endpoint

if TYPE_CHECKING:
    from deployer.verify.discovery.known import KnownService

#: Failures of the certificate itself, not of the connection.
CERTIFICATE_FAILURES = frozenset(
    {"tls-untrusted", "tls-wrong-name", "tls-incomplete-chain", "tls-expired", "tls-roots"}
)


class Diagnosis(NamedTuple):
    """A finding's code, cause and fix, and the alternatives."""

    code: str
    cause: str
    fix: str
    alternatives: tuple[Alternative, ...] = ()


REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: The code of the finding if no more is known than the failure.
_GENERAL: Mapping[str, str] = {
    "bad-expectation": "check-failed",
    "bad-request": "check-failed",
    "closed": "connection-dropped",
    "closed-by-peer": "connection-dropped",
    "dropped": "connection-dropped",
    "no-way": "unreachable-from-here",
    "speaks-tls": "plain-http-on-https",
}


def general_code(failure: Failure) -> str:
    """Return the finding's code for a failure without a known cause."""
    return _GENERAL.get(failure.code, failure.code)


def listener_diagnosis(failure: Failure, *, proxy: Proxy, endpoint: Endpoint) -> Diagnosis:
    """Diagnose a missing or unexpected listener at the proxy's address."""
    words = PROXIES[proxy].words
    unit = PROXIES[proxy].unit
    if failure.code == "no-tls":
        return Diagnosis(
            "tls-not-spoken",
            f"The server on {endpoint} speaks plain HTTP.",
            f"Enable TLS on that port ({words.tls_port}), or move the other server elsewhere.",
        )
    if failure.code == "speaks-tls":
        return Diagnosis(
            "plain-http-on-https",
            f"The server on {endpoint} expects TLS, but the site is configured without it.",
            "Give the site a tls: issuer, or move the other server elsewhere.",
        )
    if failure.code in ("tls-failed", "tls-closed"):
        return Diagnosis(
            "tls-failed",
            "The proxy has no certificate or no common protocol version for this name.",
            f"Check {words.chain} of this site, and the proxy's error log.",
        )
    if failure.code == "tls-stalled":
        return Diagnosis(
            "tls-stalled",
            f"The server on {endpoint} accepts connections but does not complete the TLS"
            " handshake: it hangs, has no free worker, or is not a TLS server.",
            f"Run `systemctl status {unit}` and `journalctl -u {unit} -n 20`; `openssl s_client` on"
            " the host shows how far the handshake gets.",
        )
    if failure.code in ("unreachable", "no-way"):
        return Diagnosis(
            "proxy-down",
            f"{endpoint} is unreachable from the host itself.",
            f"Check `systemctl status {unit}`, firewall rules on the loopback interface, and sshd's"
            " AllowTcpForwarding and PermitOpen.",
        )
    return Diagnosis(
        "proxy-down",
        f"Nothing listens on {endpoint}: the proxy is not running, or has not loaded this site.",
        f"Run `systemctl status {unit}` and `journalctl -u {unit} -n 20`, and the proxy's own"
        " configuration test.",
    )


def certificate_diagnosis(failure: Failure, *, proxy: Proxy, issuer: str) -> Diagnosis:
    """Diagnose a certificate chain that is not accepted."""
    words = PROXIES[proxy].words
    directive = words.chain
    if failure.code == "tls-wrong-name":
        return Diagnosis(
            "tls-wrong-name",
            "The proxy presents another site's certificate for this name, or the certificate was"
            " issued before this name was added.",
            f"Set {directive} to a certificate with every name of the site.",
        )
    if failure.code == "tls-expired":
        return Diagnosis(
            "tls-expired",
            "The certificate was not renewed, the proxy was not reloaded after the renewal, or a"
            " clock is wrong.",
            f"Compare {directive} with the certificate served; then reload the proxy or renew the"
            " certificate.",
        )
    if failure.code == "tls-incomplete-chain":
        return Diagnosis(
            "tls-incomplete-chain",
            "The file contains only the certificate. Browsers may fetch the missing intermediates;"
            " other programs do not.",
            f"Set {directive} to the certificate followed by its intermediates (fullchain.pem).",
            (
                Alternative(
                    code="tls-untrusted",
                    tell="the issuer is a private root CA that signs without an intermediate; with"
                    " that root in the site's ca_bundle, the check passes",
                ),
            )
            if may_be_complete(failure)
            else (),
        )
    if failure.code == "tls-roots":
        return Diagnosis(
            "tls-untrusted",
            "The root certificate to verify against is damaged, or not in PEM form.",
            "Check the site's tls: settings (ca_bundle) on this machine.",
        )
    expected = {
        "internal": "the internal CA of this controller (.deployer/ca)",
        "provided": "an issuer that this machine trusts",
    }.get(issuer, "the site's issuer")
    return Diagnosis(
        "tls-untrusted",
        f"The certificate was not issued by {expected}: it is an old one, a distribution's"
        " placeholder, or another site's.",
        f"Set {directive} to this site's own certificate. For a private CA, set ca_bundle to its"
        " root.",
    )


def identity_refused(attempt: Attempt, failure: Failure, endpoint: Endpoint) -> Diagnosis | None:
    """Diagnose a client certificate that the proxy does not accept; `None` for other failures."""
    identity = endpoint.identity
    is_refused = attempt.status_code == 400 and b"certificate" in attempt.answer.body.lower()
    if identity is None or not (is_refused or failure.code in ("tls-failed", "tls-closed")):
        return None
    return Diagnosis(
        "tls-failed",
        f"The proxy does not accept {identity.certificate}, the certificate that checks present: no"
        " CA in tls.client_certificates.ca has issued it, or it has expired.",
        "Name a certificate that is valid in tls.client_certificates.probe, with those between it"
        " and its CA.",
    )


def proxy_diagnosis(failure: Failure, *, proxy: Proxy, route: Route | None) -> Diagnosis:
    """Diagnose a failure at the proxy while the service works; statuses are in `statuses.py`."""
    words = PROXIES[proxy].words
    broken = cause_and_fix(failure.code, service_diagnosis=False)
    if broken is not None:
        return Diagnosis(failure.code, *broken)
    if failure.code == "idle-cut":
        return _cut_by_proxy(failure, proxy, route)
    if failure.code in ("wrong-accept", "incomplete-upgrade", "not-http", "bad-negotiation"):
        return Diagnosis(
            failure.code,
            "Something between here and the service answers instead of it or changes its headers:"
            " a cache, a filter, or a different service on that address.",
            f"Check where this path is sent ({words.backend}), and rules that set or hide response"
            " headers.",
        )
    if failure.code == "subprotocol-missing":
        return Diagnosis(
            "subprotocol-missing",
            "Sec-WebSocket-Protocol is lost in the request or the response.",
            "Remove the proxy's rule that drops or overwrites that header.",
        )
    if failure.code in ("silent-after-upgrade", "unexpected-message", "no-pong"):
        return Diagnosis(
            failure.code,
            "The connection opens through the proxy, but the service's messages do not arrive: the"
            " proxy connects to a different service, or something on the path blocks messages.",
            f"Check where this path is sent ({words.backend}), and filters on the path.",
        )
    if failure.code == "timeout":
        return Diagnosis(
            "timeout",
            "The proxy accepts the request but gets no response: it sends this path to something"
            " that hangs, or has no free worker or connection.",
            f"Check {words.backend} for this path, and the proxy's error log for limits.",
        )
    return Diagnosis(
        general_code(failure),
        "The proxy opens the connection but does not behave like the service on it.",
        f"Check the proxy's error log at this time, and {words.idle}.",
    )


def _cut_by_proxy(failure: Failure, proxy: Proxy, route: Route | None) -> Diagnosis:
    words = PROXIES[proxy].words
    defaults = (
        f"By default (in Debian), {PROXIES[proxy].title} closes idle connections after"
        f" {words.idle_default}."
    )
    allowed_s = route.idle_timeout_s if route else None
    if allowed_s is not None and failure.seconds is not None and failure.seconds < allowed_s - 1:
        return Diagnosis(
            "idle-cut",
            f"The proxy closes idle connections before the idle_timeout of {allowed_s:g} s: its"
            f" setting is not effective here, or a different hop has a shorter one. {defaults}",
            f"Look for a different {words.idle} that takes precedence, or make the service ping"
            " more often.",
        )
    return Diagnosis(
        "idle-cut",
        f"The check keeps the connection idle for longer than the route's idle_timeout. {defaults}",
        f"Raise the route's idle_timeout ({words.idle}), or make the service ping more often.",
    )


def service_diagnosis(
    failure: Failure,
    *,
    status_code: int | None,
    endpoint: Endpoint,
    redirect: str = "redirected",
    location: str = "",
) -> Diagnosis:
    """Diagnose a failure of the service itself, without any proxy.

    `redirect` is the kind of redirect and `location` its target, if the failure is one.
    """
    broken = cause_and_fix(failure.code, service_diagnosis=True)
    if broken is not None:
        return Diagnosis(failure.code, *broken)
    if failure.code == "status":
        if status_code in REDIRECTS:
            return _redirect(endpoint, redirect, location)
        return _service_status(status_code or 0, endpoint)
    if failure.code == "refused":
        sockets = "ss -lxp" if str(endpoint).startswith("unix:") else "ss -ltnp"
        return Diagnosis(
            "service-down",
            f"Nothing listens on {endpoint}: the service is not running, is still starting, or"
            " listens elsewhere.",
            f"Start the service (see `systemctl status`; `{sockets}` on the host lists listening"
            " processes), or correct the route's upstream.",
        )
    if failure.code == "unreachable" and "cannot resolve" in failure.words:
        return Diagnosis(
            "service-down",
            f"The host cannot resolve {str(endpoint).rpartition(':')[0]}, the route's upstream.",
            "Use an address, or a name that the host can resolve (`getent hosts NAME`).",
        )
    found = _OF_SERVICE.get(failure.code, _CLOSES_CONNECTION)
    if status_code is None and failure.code in ("closed", "dropped"):
        found = _CLOSES_WITHOUT_ANSWER
    cause = found.cause.format(endpoint=endpoint)
    return found._replace(code=found.code or general_code(failure), cause=cause)


#: Diagnoses of a service at `endpoint`; without a code, they have that of the failure.
_CLOSES_CONNECTION = Diagnosis(
    "",
    "The service on {endpoint} closes the connection itself: it fails, or requires something"
    " that the check does not send.",
    "Check the service's log at this time.",
)
_CLOSES_WITHOUT_ANSWER = Diagnosis(
    "",
    "The service on {endpoint} closes the connection without an answer: it has no WebSocket on"
    " this path or without a query, as Node.js services do then, or it fails.",
    "Compare path and query with the service's documentation (Socket.IO:"
    " ?EIO=4&transport=websocket), and write them into the route's probe; then check the"
    " service's log.",
)
_UNREACHABLE = Diagnosis(
    "service-down",
    "{endpoint} is unreachable from the host.",
    "Check the upstream's address, the network, and firewalls.",
)
_TLS_FAILS = Diagnosis(
    "",
    "The TLS handshake with the service on {endpoint} fails: a certificate or a common"
    " version is missing, or the service requires a client certificate.",
    "Check the service's log and its TLS settings.",
)
_NO_TLS = Diagnosis(
    "upstream-scheme",
    "The route uses TLS, but the service on {endpoint} does not.",
    "Write http:// in the route's upstream, or enable TLS in the service.",
)
_NOT_WEBSOCKET = Diagnosis(
    "",
    "The server on {endpoint} is not a WebSocket server as defined by RFC 6455.",
    "Check the route's upstream; use a WebSocket library, not a hand-written handshake.",
)
_OF_SERVICE: Mapping[str, Diagnosis] = {
    "unreachable": _UNREACHABLE,
    "no-way": _UNREACHABLE,
    "speaks-tls": Diagnosis(
        "upstream-scheme",
        "The service on {endpoint} expects TLS, but the route uses plain HTTP.",
        "Write https:// in the route's upstream, or disable TLS in the service.",
    ),
    "tls-failed": _TLS_FAILS,
    "tls-stalled": _TLS_FAILS,
    "no-tls": _NO_TLS,
    "tls-closed": _NO_TLS,
    "timeout": Diagnosis(
        "service-hangs",
        "The service on {endpoint} accepts connections but does not answer: it hangs, or it is"
        " not an HTTP service.",
        "Check the path, the service's log and the route's upstream; restart the service.",
    ),
    "wrong-accept": _NOT_WEBSOCKET,
    "incomplete-upgrade": _NOT_WEBSOCKET,
    "not-http": _NOT_WEBSOCKET,
    "bad-negotiation": _NOT_WEBSOCKET,
    "no-pong": Diagnosis(
        "",
        "The service opens the connection but does not read from it: it hangs, or it ignores"
        " pings, which RFC 6455 (section 5.5.2) forbids.",
        "Check the service's log and its workers.",
    ),
    "unexpected-message": Diagnosis(
        "",
        "The service does not send the message that the check expects: it runs a different"
        " version, a worker or database is down, or the expectation is wrong.",
        "Compare the received message with expect: (a text must match the whole message, a"
        " pattern any part), and check the service's log.",
    ),
    "silent-after-upgrade": Diagnosis(
        "",
        "The service opens connections and answers pings, but its application sends nothing: a"
        " worker, queue or database behind it is down, or it silently rejected the login.",
        "Check the service's log, and its workers, queue and database; the proxy is not the cause.",
    ),
    "locked-out": Diagnosis(
        "",
        "The service on {endpoint} has locked out the address of its clients, which is the host's"
        " own for all clients behind a proxy, after several connections without a login.",
        "Wait until it accepts connections again and log in once. Raise the service's limit"
        " (TigerVNC: BlacklistThreshold), and write probe: false if checks of the route exceed it.",
    ),
    "subprotocol-missing": Diagnosis(
        "",
        "The service does not support the offered subprotocols.",
        "Correct subprotocols: in the check, or upgrade the service.",
    ),
    "idle-cut": Diagnosis(
        "",
        "The service itself closes idle connections: it expects a heartbeat, or has an idle"
        " timeout.",
        "Send the heartbeat in time, raise the service's timeout, or shorten hold:.",
    ),
}


# Statuses with which services refuse a handshake, as measured.
_FINGERPRINTS: Mapping[int, str] = {
    200: "It answers with an ordinary page: its WebSocket has a different path, or it has none.",
    400: "It does not accept the handshake: a wrong path, Origin, Host or subprotocol.",
    404: "It has no WebSocket on this path, or refuses this Origin or Host with that status.",
    405: "It has an ordinary page on this path, which does not even allow GET.",
    426: "It requires an upgrade on this path, but a different one.",
    500: "It has an internal error.",
}


def other_path(service: KnownService, *, asked: str) -> Diagnosis:
    """Diagnose a service whose WebSocket is elsewhere than `asked`."""
    path, _, query = service.path.partition("?")
    who = f"This is {service.name}, whose" if service.name else "The service's page opens a"
    here = without_secrets(asked)
    if path.rstrip("/") == asked.partition("?")[0].rstrip("/"):
        cause = f"{who} WebSocket on {here} requires the query: {service.path}."
        fix = f"Describe the handshake on the route: probe: {{path: {service.path}}}."
    else:
        cause = f"{who} WebSocket is on {path}, not on {here}."
        if not service.name:
            cause = f"{who} WebSocket on {path}, not on {here}."
        with_query = f" with probe: {{path: {service.path}}}" if query else ""
        fix = f"Write path: {path} in the route{with_query}, or path: / for the whole service."
    needs = f" It needs {service.needs}." if service.needs else ""
    return Diagnosis("backend-not-websocket", f"{cause}{needs}", fix)


def refused_with_any_origin(endpoint: Endpoint) -> Diagnosis:
    """Diagnose a 403 of the service that does not depend on the Origin."""
    return Diagnosis(
        "backend-not-websocket",
        f"The service on {endpoint} answers 403 with and without an Origin: it has no WebSocket on"
        " this path (as uvicorn answers then), or it requires a login.",
        "Compare the route's path with the service's documentation, or give the check a login in"
        " the headers of its probe.",
        (
            Alternative(code="login-required", tell="the service's clients log in first"),
            Alternative(
                code="origin-blocked",
                tell="the service has a list of allowed origins or hosts, and refuses a missing"
                " Origin too",
            ),
        ),
    )


def distrusts_the_proxy(endpoint: Endpoint) -> Diagnosis:
    """Diagnose a 400 of the service that goes away without the headers of a proxy."""
    return Diagnosis(
        "backend-not-websocket",
        f"The service on {endpoint} refuses requests with X-Forwarded-For: it does not trust the"
        " proxy. Without the headers of a proxy, it answers.",
        "Add the proxy's address, 127.0.0.1, to the service's list of trusted proxies. Home"
        " Assistant: use_x_forwarded_for: true and trusted_proxies: [127.0.0.1] under http:.",
    )


def _redirect(endpoint: Endpoint, kind: str, location: str) -> Diagnosis:
    """Diagnose a redirect of the service itself."""
    if kind != "redirected":
        return Diagnosis(
            kind,
            f"The service on {endpoint} redirects, and WebSocket clients do not follow redirects: a"
            " trailing slash is missing or extra, or the app forces HTTPS or its own name.",
            "Use the path in the redirect; an app that forces HTTPS must trust X-Forwarded-Proto.",
        )
    shown = without_secrets(printable(location)) or "nowhere"
    return Diagnosis(
        kind,
        f"The service on {endpoint} redirects to a page ({shown}): it requires a login, or it has"
        " no WebSocket on this path. WebSocket clients do not follow redirects.",
        "Compare the route's path with the service's documentation. If it only requires a login,"
        " set login: true, or give the check one in the headers of its probe.",
        (Alternative(code="login-required", tell="the page in the redirect is a login"),),
    )


def _service_status(status_code: int, endpoint: Endpoint) -> Diagnosis:
    if status_code == 403:
        return Diagnosis(
            "origin-blocked",
            f"The service on {endpoint} itself refuses this Origin or Host, or requires a login.",
            "Add the site's origin to the service's own list of allowed origins and hosts.",
            (
                Alternative(
                    code="login-required", tell="the service has no such list but requires logins"
                ),
            ),
        )
    if status_code == 401:
        return Diagnosis(
            "login-required",
            f"The service on {endpoint} requires a login before the handshake.",
            "Give the check a login: in the headers of the route's probe, or in its path; or set"
            " login: true to verify without one.",
        )
    cause = _FINGERPRINTS.get(status_code, "It does not treat this as a WebSocket handshake.")
    return Diagnosis(
        "backend-not-websocket",
        f"The service on {endpoint} answers, but does not open a WebSocket. {cause}",
        "Compare the route's upstream, path and strip_prefix with the service's documentation.",
    )
