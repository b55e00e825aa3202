"""Why a failure came about and what mends it, in a person's words. Pure, and nothing but words.

Every function returns ``(code, cause, fix)``: the code is stable, for programs; the rest is for
people, with the directives of the proxy in question.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from deployer.model import Alternative, Proxy
from deployer.proxies import PROXIES
from deployer.proxies.words import BACKEND, CHAIN, IDLE, TLS_PORT
from deployer.sites.model import Route
from deployer.verify.judge.protocol_errors import cause_and_fix
from deployer.verify.probe.attempt import Failure
from deployer.verify.probe.certificate import may_be_complete
from deployer.verify.probe.spec import Endpoint

#: Failures that lie in the certificate, and not in the way to it.
CERTIFICATE_FAILURES = frozenset(
    {"tls-untrusted", "tls-wrong-name", "tls-incomplete-chain", "tls-expired", "tls-roots"}
)


class Diagnosis(NamedTuple):
    """A finding's code, cause and fix, and what it could be instead."""

    code: str
    cause: str
    fix: str
    alternatives: tuple[Alternative, ...] = ()


#: What a failure is called as a finding, where no more is known of it.
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
    """The finding that a failure is by itself, without any cause."""
    return _GENERAL.get(failure.code, failure.code)


def listener_diagnosis(failure: Failure, *, proxy: Proxy, endpoint: Endpoint) -> Diagnosis:
    """Nobody, or not the one we expect, answers where the proxy should."""
    unit = PROXIES[proxy].unit
    if failure.code == "no-tls":
        return Diagnosis(
            "tls-not-spoken",
            f"What listens on {endpoint} speaks plain HTTP there.",
            f"Make that port a TLS port ({TLS_PORT[proxy]}), or move away who else listens there.",
        )
    if failure.code == "speaks-tls":
        return Diagnosis(
            "plain-http-on-https",
            f"What listens on {endpoint} expects TLS, and the site is served without it.",
            "Give the site a tls: issuer, or move away who else listens there.",
        )
    if failure.code in ("tls-failed", "tls-closed"):
        return Diagnosis(
            "tls-failed",
            "The proxy has no certificate or no common protocol version for this name.",
            f"Look at {CHAIN[proxy]} of this site and at the proxy's error log.",
        )
    if failure.code == "tls-stalled":
        return Diagnosis(
            "tls-stalled",
            f"What listens on {endpoint} takes connections and does not go through with the TLS"
            " handshake: it hangs, it has no worker left, or it is no TLS server at all.",
            f"systemctl status {unit}; journalctl -u {unit} -n 20; `openssl s_client` on the host"
            " shows how far it gets.",
        )
    if failure.code in ("unreachable", "no-way"):
        return Diagnosis(
            "proxy-down",
            f"{endpoint} cannot be reached from the host itself.",
            f"systemctl status {unit}; firewall rules on the loopback interface; sshd's"
            " AllowTcpForwarding and PermitOpen.",
        )
    return Diagnosis(
        "proxy-down",
        f"Nothing listens on {endpoint}: the proxy is not running, or has not taken this site in.",
        f"systemctl status {unit}; journalctl -u {unit} -n 20; its own config test says more.",
    )


def certificate_diagnosis(failure: Failure, *, proxy: Proxy, issuer: str) -> Diagnosis:
    """The chain that the proxy shows is not accepted."""
    where = CHAIN[proxy]
    if failure.code == "tls-wrong-name":
        return Diagnosis(
            "tls-wrong-name",
            "The proxy answers this name with another site's certificate, or the certificate was"
            " made before this name was added.",
            f"Let the certificate hold every name of the site, and {where} point at that one.",
        )
    if failure.code == "tls-expired":
        return Diagnosis(
            "tls-expired",
            "The certificate was not renewed, it was renewed but the proxy has not been reloaded"
            " since, or a clock is wrong.",
            f"Compare the file under {where} with what is served; then reload the proxy, or renew.",
        )
    if failure.code == "tls-incomplete-chain":
        return Diagnosis(
            "tls-incomplete-chain",
            "The file holds the certificate alone. Browsers may fetch the rest; programs do not.",
            f"Let {where} hold the certificate and, after it, the intermediates (fullchain.pem).",
            (
                Alternative(
                    code="tls-untrusted",
                    tell="its issuer is a root, a CA of one's own that signs without an"
                    " intermediate; with that root in the site's ca_bundle, it passes",
                ),
            )
            if may_be_complete(failure)
            else (),
        )
    if failure.code == "tls-roots":
        return Diagnosis(
            "tls-untrusted",
            "The root certificate to judge by is damaged, or not in PEM form.",
            "Look at the site's tls: settings (ca_bundle) on this machine.",
        )
    expected = {
        "internal": "the internal CA of this controller (.deployer/ca)",
        "provided": "an issuer that this machine trusts",
    }.get(issuer, "the site's issuer")
    return Diagnosis(
        "tls-untrusted",
        f"The certificate does not come from {expected}: it is a left-over, a distribution's"
        " placeholder, or another site's.",
        f"Let {where} point at this site's own certificate. For a CA of one's own, name its root"
        " in ca_bundle.",
    )


def proxy_diagnosis(failure: Failure, *, proxy: Proxy, route: Route | None) -> Diagnosis:
    """The service does it right and the proxy does not; statuses are looked at in `compare.py`."""
    broken = cause_and_fix(failure.code, service_diagnosis=False)
    if broken is not None:
        return Diagnosis(failure.code, *broken)
    if failure.code == "idle-cut":
        return _cut_by_proxy(failure, proxy, route)
    if failure.code in ("wrong-accept", "incomplete-upgrade", "not-http", "bad-negotiation"):
        return Diagnosis(
            failure.code,
            "Something between here and the service answers in its place, or changes its headers:"
            " a cache, a filter, or another service on that address.",
            f"Look at where this path is sent ({BACKEND[proxy]}), and at rules that set or hide"
            " response headers.",
        )
    if failure.code == "subprotocol-missing":
        return Diagnosis(
            "subprotocol-missing",
            "Sec-WebSocket-Protocol is lost on the way to the service or back.",
            "Remove the rule of the proxy that drops or overwrites that header.",
        )
    if failure.code in ("silent-after-upgrade", "unexpected-message", "no-pong"):
        return Diagnosis(
            failure.code,
            "The connection opens through the proxy, and what the service says does not come"
            " through: it is connected to another service, or something on the way keeps messages"
            " back.",
            f"Look at where this path is sent ({BACKEND[proxy]}), and at filters on the way.",
        )
    if failure.code == "timeout":
        return Diagnosis(
            "timeout",
            "The proxy takes the request and does not get it answered: it sends this path to"
            " something that hangs, or has no worker or connection left.",
            f"Look at {BACKEND[proxy]} for this path, and at the proxy's error log for its limits.",
        )
    return Diagnosis(
        general_code(failure),
        "The proxy opens the connection but does not carry it as the service would.",
        f"Look at the proxy's error log at this moment, and at {IDLE[proxy]}.",
    )


def _cut_by_proxy(failure: Failure, proxy: Proxy, route: Route | None) -> Diagnosis:
    untouched = (
        "Untouched, nginx ends silent connections after 60 s, HAProxy after 50 s and Apache after"
        " 300 s (as Debian sets them)."
    )
    allowed_s = route.idle_timeout_s if route else None
    if allowed_s is not None and failure.seconds is not None and failure.seconds < allowed_s - 1:
        return Diagnosis(
            "idle-cut",
            f"The proxy ends silent connections before the {allowed_s:g} s of idle_timeout are"
            f" over: its limit is not in force here, or another hop has a shorter one. {untouched}",
            f"Look for another {IDLE[proxy]} that wins, or let the service ping more often.",
        )
    return Diagnosis(
        "idle-cut",
        f"The connection was to be silent for longer than the route's idle_timeout. {untouched}",
        f"Raise idle_timeout of the route ({IDLE[proxy]}), or let the service ping more often.",
    )


def service_diagnosis(
    failure: Failure,
    *,
    status_code: int | None,
    endpoint: Endpoint,
    redirect: str = "redirected",
) -> Diagnosis:
    """The service itself does it wrong, without any proxy in between.

    `redirect` is which kind of one it is, where the failure is one.
    """
    broken = cause_and_fix(failure.code, service_diagnosis=True)
    if broken is not None:
        return Diagnosis(failure.code, *broken)
    if failure.code == "refused":
        sockets = "ss -lxp" if str(endpoint).startswith("unix:") else "ss -ltnp"
        return Diagnosis(
            "service-down",
            f"Nothing listens on {endpoint}: the service is not running, still starting, or"
            " listens elsewhere.",
            f"Start the service (systemctl status; {sockets} on the host shows who listens where),"
            " or correct the route's upstream.",
        )
    if failure.code == "unreachable" and "does not know the name" in failure.words:
        return Diagnosis(
            "service-down",
            f"The host finds no address for {str(endpoint).rpartition(':')[0]}, where the service"
            " is said to be.",
            "Write its address, or a name that the host knows (getent hosts NAME).",
        )
    if failure.code in ("unreachable", "no-way"):
        return Diagnosis(
            "service-down",
            f"{endpoint} does not answer at all, as seen from the host.",
            "Check the upstream's address, the network between, and firewalls.",
        )
    if failure.code == "speaks-tls":
        return Diagnosis(
            "upstream-scheme",
            f"The service on {endpoint} expects TLS, and the route speaks plain HTTP to it.",
            "Write https:// in the route's upstream, or turn the service's own TLS off.",
        )
    if failure.code in ("tls-failed", "tls-stalled"):
        return Diagnosis(
            failure.code,
            f"The service on {endpoint} speaks TLS, and does not come to terms about it: a"
            " certificate or a common version is missing, or it wants a certificate of ours.",
            "Look at the service's log and its TLS settings.",
        )
    if failure.code in ("no-tls", "tls-closed"):
        return Diagnosis(
            "upstream-scheme",
            f"The route speaks TLS to the service on {endpoint}, which does not.",
            "Write http:// in the route's upstream, or turn the service's TLS on.",
        )
    if failure.code == "timeout":
        return Diagnosis(
            "service-hangs",
            f"The service on {endpoint} accepts connections but does not answer: it hangs, or"
            " something that is no HTTP service listens there.",
            "Look at the service's log; restart it; check the route's upstream.",
        )
    if failure.code in ("wrong-accept", "incomplete-upgrade", "not-http", "bad-negotiation"):
        return Diagnosis(
            failure.code,
            f"What listens on {endpoint} is no WebSocket server by RFC 6455, whatever it says.",
            "Check the route's upstream; a hand-made handshake belongs into a WebSocket library.",
        )
    if failure.code == "no-pong":
        return Diagnosis(
            "no-pong",
            "The service opens the connection and then does not read from it: it hangs, or it"
            " ignores pings, which RFC 6455 (section 5.5.2) forbids.",
            "Look at the service's log and its workers.",
        )
    if failure.code == "unexpected-message":
        return Diagnosis(
            "unexpected-message",
            "The service does not say what the check expects: another version, a worker or"
            " database that is down, or an expectation that is not right.",
            "Compare what was received with expect: (a text is the whole message; a pattern is"
            " searched for), and look at the service's log.",
        )
    if failure.code == "silent-after-upgrade":
        return Diagnosis(
            "silent-after-upgrade",
            "The service opens connections and answers pings, and its application says nothing: a"
            " worker, a queue or a database behind it is down, or it has refused the login"
            " without a word.",
            "Look at the log of the service and at its workers, queue and database; the proxy is"
            " not in question.",
        )
    if failure.code == "subprotocol-missing":
        return Diagnosis(
            "subprotocol-missing",
            "The service does not know the subprotocols that were offered.",
            "Correct subprotocols: of the check, or the service's version.",
        )
    if failure.code == "idle-cut":
        return Diagnosis(
            "idle-cut",
            "The service itself ends silent connections, by a heartbeat that it expects or a limit"
            " of its own.",
            "Send what it expects within its limit, raise that limit, or shorten hold:.",
        )
    if failure.code == "status":
        return _service_status(status_code or 0, endpoint, redirect)
    return Diagnosis(
        general_code(failure),
        f"The service on {endpoint} ends the connection by itself: it fails, or it wants something"
        " that the check does not send.",
        "Look at the service's log at this moment.",
    )


# What services say to a handshake that they do not take for one, measured.
_FINGERPRINTS: Mapping[int, str] = {
    200: "It answers with an ordinary page: another path is its WebSocket, or it has none.",
    400: "It does not accept this as a handshake: a wrong path, Origin, Host or subprotocol.",
    404: "It has no WebSocket on this path, or refuses this Origin or Host with that status.",
    405: "It has an ordinary page on this path, that does not even take GET.",
    426: "It wants an upgrade on this path, but not this one.",
    500: "It fails inside.",
}


def _service_status(status_code: int, endpoint: Endpoint, redirect: str) -> Diagnosis:
    if status_code in (301, 302, 303, 307, 308):
        return Diagnosis(
            redirect,
            f"The service on {endpoint} redirects, and WebSocket clients do not follow: the path"
            " lacks or has a slash at its end, or the app forces HTTPS or its own name.",
            "Use the path that it redirects to; an app that forces HTTPS must trust"
            " X-Forwarded-Proto.",
        )
    if status_code == 403:
        return Diagnosis(
            "origin-blocked",
            f"The service on {endpoint} refuses this Origin or Host itself, or wants a login.",
            "Add the site's origin to the service's own list of allowed origins and hosts.",
            (
                Alternative(
                    code="login-required", tell="the service has no such list, and it has logins"
                ),
            ),
        )
    if status_code == 401:
        return Diagnosis(
            "login-required",
            f"The service on {endpoint} wants a login before the handshake.",
            "Put a token into the path of a verify: entry, if the service takes one there.",
        )
    cause = _FINGERPRINTS.get(status_code, "It does not take this for a WebSocket handshake.")
    return Diagnosis(
        "backend-not-websocket",
        f"The service on {endpoint} is reached, and is not the one. {cause}",
        "Check the route's upstream, its path and strip_prefix against the service's own manual.",
    )
