"""A status other than 101 where the service itself would have upgraded: what the proxy did. Pure.

What decides, beside the status: the service's answer without any upgrade (`plain`), and the
follow-ups, which change one thing each (`follow_ups.py`). Where they do not decide, the finding
names what it could be as well, and how to tell.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from deployer.model import Alternative, Proxy
from deployer.proxies import PROXIES, words
from deployer.verify.judge.attempts import Attempts
from deployer.verify.judge.causes import Diagnosis
from deployer.verify.net.redact import without_secrets
from deployer.verify.planned.follow_ups import own_host
from deployer.verify.planned.model import PlannedCheck
from deployer.verify.probe.attempt import Attempt, printable
from deployer.verify.probe.spec import HttpProbe, PlannedProbe

REDIRECTS = frozenset({301, 302, 303, 307, 308})


def status_at_proxy(check: PlannedCheck, attempts: Attempts, proxy: Proxy) -> Diagnosis:
    """Why the proxy answers `check` with that status."""
    attempt = attempts.main
    status = attempt.status_code
    if mentions_plain_http(attempt):
        return _plain_http(check, proxy)
    if status in (502, 503, 504):
        return _bad_gateway(status, attempts, proxy)
    if status in REDIRECTS:
        return _redirect(check, attempt, proxy)
    if status == 505:
        return Diagnosis(
            "http-1.0-upstream",
            "The service answers 505: the proxy speaks HTTP/1.0 to it, and WebSockets need"
            " HTTP/1.1.",
            f"{words.UPGRADE[proxy]}.",
        )
    if status == 401:
        return _wants_login(attempt, proxy)
    of_host = _host_or_origin(check, attempts, proxy)
    if of_host is not None:
        return of_host
    if status in (403, 429):
        return _refused_to_all(status, proxy)
    if _upgrade_was_lost(attempts):
        return Diagnosis(
            "upgrade-not-forwarded",
            "The proxy reaches the service but does not pass Upgrade and Connection on, so the"
            " service sees an ordinary request.",
            f"{words.UPGRADE[proxy]}.",
        )
    if status == 400 and not _is_html(attempt):
        return _refused_as_malformed(proxy)
    if status == 200 and _is_html(attempt):
        return Diagnosis(
            "page-instead",
            "A page answers where the service would open a WebSocket: the proxy sends this path"
            " elsewhere, takes its prefix away, or serves a file in its place (a fallback of a"
            " single-page app).",
            f"Compare {words.BACKEND[proxy]} and strip_prefix with the path that the service"
            " wants; keep fallbacks (try_files, FallbackResource) away from it.",
        )
    return Diagnosis(
        "wrong-route",
        "The proxy answers this path otherwise than the service does: the request went to"
        " another site, another location, or with another path.",
        f"Look at which site and path the proxy chooses ({words.BACKEND[proxy]}), at"
        " strip_prefix, and at a default site that takes the name.",
        (
            Alternative(
                code="slash-mismatch",
                tell="the service's log shows the path with a slash too many, or one too few",
            ),
        ),
    )


def _wants_login(attempt: Attempt, proxy: Proxy) -> Diagnosis:
    """A 401 where the service, asked in the same way, opens the connection."""
    headers = {name.lower(): value for name, value in attempt.answer.headers}
    scheme = printable(headers.get("www-authenticate", "").partition(" ")[0], limit=20)
    asking = f" ({scheme})" if scheme else ""
    return Diagnosis(
        "login-required",
        f"Before the service, the proxy wants a login{asking}: the service itself opens the same"
        " connection without one.",
        f"{words.LOGIN[proxy]} Browsers send no Authorization header with a WebSocket"
        " handshake but what they were asked for on a page before.",
        (
            Alternative(
                code="wrong-route",
                tell="no rule for logins is in force in the proxy: another service answers, that"
                " wants one",
            ),
        ),
    )


def _refused_to_all(status: int, proxy: Proxy) -> Diagnosis:
    """A refusal that does not go by Origin: with and without one, it is the same."""
    if status == 429:
        cause = "A limit on how often one may ask refuses this path, and the service does not."
    else:
        cause = (
            "The proxy refuses this path with and without Origin, and the service opens it: an"
            " access rule, a filter or a login is in front of it."
        )
    return Diagnosis(
        "handshake-refused",
        cause,
        f"{words.ACCESS[proxy]} The proxy's error log names the rule.",
        (
            Alternative(
                code="origin-blocked",
                tell="the rule that the log names compares Origin, and refuses a missing one, too",
            ),
            Alternative(
                code="wrong-route",
                tell="the request shows up in the log of another site, location or service",
            ),
        ),
    )


def _refused_as_malformed(proxy: Proxy) -> Diagnosis:
    """A 400 that is no proxy's page: the service finds fault with what it is sent."""
    return Diagnosis(
        "upgrade-not-forwarded",
        "The service takes what the proxy sends it for no handshake, while it accepts the one that"
        " is sent to it straight: headers of it, or HTTP/1.1, are lost on the way.",
        f"{words.UPGRADE[proxy]}.",
        (
            Alternative(
                code="http-1.0-upstream",
                tell="the answer, or the service's log, is about the version of HTTP",
            ),
            Alternative(
                code="slash-mismatch",
                tell="the service's log shows the path with a slash too many, or one too few",
            ),
        ),
    )


def mentions_plain_http(attempt: Attempt) -> bool:
    """Whether a TLS port complains that plain HTTP was sent to it."""
    # The words of nginx, Go's net/http and Apache.
    body = attempt.answer.body.lower()
    return attempt.status_code == 400 and (
        b"plain http request was sent to https port" in body
        or b"http request to an https server" in body
        or b"speaking plain http to an ssl-enabled server port" in body
    )


def location_of(attempt: Attempt) -> str:
    """Where a redirect leads, or nothing."""
    headers = {name.lower(): value for name, value in attempt.answer.headers}
    return headers.get("location", "")


def asked_url(probe: PlannedProbe) -> str:
    """The URL that a request stands for, as its Host and X-Forwarded-Proto have it."""
    if not isinstance(probe, HttpProbe):
        return probe.uri
    headers = dict(probe.headers)
    scheme = headers.get("X-Forwarded-Proto") or ("https" if probe.endpoint.tls else "http")
    return f"{scheme}://{headers.get('Host', probe.endpoint)}{probe.target}"


def redirect_kind(asked: str, location: str) -> str:
    """The finding that a redirect of the URL `asked` to `location` is."""
    try:
        here, there = urlsplit(asked), urlsplit(location)
        port = there.port
    except ValueError:
        return "redirected"
    host = there.hostname or here.hostname
    scheme = there.scheme or here.scheme
    same_query = there.query == here.query
    if host != here.hostname:
        return "redirected"
    if scheme == here.scheme and port in (None, here.port) and there.path == here.path:
        return "redirect-loop" if same_query else "redirected"
    if there.path.rstrip("/") == here.path.rstrip("/") and there.path != here.path:
        return "slash-redirect"
    return "https-redirect" if (here.scheme, scheme) == ("http", "https") else "redirected"


def _plain_http(check: PlannedCheck, proxy: Proxy) -> Diagnosis:
    """Whose TLS port it is, the request itself tells: ours was by TLS, or it was not."""
    endpoint = check.probe.endpoint
    if endpoint.tls or proxy == "haproxy":
        return Diagnosis(
            "upstream-scheme",
            "The proxy speaks plain HTTP to a port of the service that expects TLS.",
            f"Write https:// in the route's upstream ({words.BACKEND[proxy]}).",
        )
    return Diagnosis(
        "plain-http-on-https",
        f"The request went to a TLS port as plain HTTP: {endpoint} expects TLS.",
        f"Write {words.TLS_PORT[proxy]}, and wss:// in clients; or serve the site without TLS"
        " on a port of its own.",
        (
            Alternative(
                code="upstream-scheme",
                tell="the answer's Server header is the service's, not the proxy's",
            ),
        ),
    )


def _bad_gateway(status: int | None, attempts: Attempts, proxy: Proxy) -> Diagnosis:
    backend = words.BACKEND[proxy]
    peer = attempts.peer
    took = f" (straight, it answers in {peer.seconds * 1000:.0f} ms)" if peer else ""
    if status == 504:
        cause = (
            "The proxy waits in vain for whom it asks: it is configured with another address, or"
            f" with one that swallows its connections{took}."
        )
    else:
        cause = (
            "The proxy does not reach the service, or does not understand it: it is configured "
            "with another address, with TLS where there is none, or the system keeps it from "
            "connecting; without a list of upstreams, it may also still wait after an earlier "
            "failure."
        )
    return Diagnosis(
        "bad-gateway",
        cause,
        f"Compare {backend} for this path with the route's upstream; the proxy's error log "
        "names the address that it tried.",
        (
            Alternative(
                code="upstream-scheme",
                tell="the address in the proxy's error log is right, and its words are about TLS,"
                " or about a header that is invalid or too early",
            ),
            Alternative(
                code="connections-exhausted",
                tell="the proxy's log says that it limits requests or connections, or that its"
                " queue is full",
            ),
            Alternative(
                code="service-down",
                tell="the service has been started again since: verify once more",
            ),
        ),
    )


def _redirect(check: PlannedCheck, attempt: Attempt, proxy: Proxy) -> Diagnosis:
    location = location_of(attempt)
    shown = without_secrets(printable(location)) or "nowhere"
    kind = redirect_kind(asked_url(check.probe), location)
    if kind == "redirect-loop":
        return Diagnosis(
            kind,
            f"It redirects to itself ({shown}): the app forces HTTPS and is not told that the "
            "request came by HTTPS.",
            "Set X-Forwarded-Proto to https in the proxy, as the sites made here do.",
        )
    if kind == "slash-redirect":
        return Diagnosis(
            kind,
            f"It redirects to {shown}, only for the slash at the end; WebSocket clients do not "
            "follow redirects.",
            "Serve the path without the slash too (in nginx: an exact location beside that with "
            "a slash).",
        )
    if kind == "https-redirect":
        return Diagnosis(
            kind,
            f"The site redirects to HTTPS ({shown}), while the playbook serves it without.",
            "Give the site a tls: issuer; clients then use wss://.",
        )
    return Diagnosis(
        "redirected",
        f"The proxy redirects to {shown}; WebSocket clients do not follow.",
        f"Remove the redirect for this path from the config of {PROXIES[proxy].unit}.",
    )


def _host_or_origin(check: PlannedCheck, attempts: Attempts, proxy: Proxy) -> Diagnosis | None:
    """What a refusal that depends on Host or Origin is; `None` where nothing speaks for one."""
    attempt, beside = attempts.main, attempts.follow_ups
    bare = beside.get("without-origin")
    opens_without_origin = bare is not None and bare.status_code == 101
    lost = not opens_without_origin and _upgrade_was_lost(attempts)
    for name, code in (("without-port", "port-lost"), ("rewritten", "host-rewritten")):
        twin = beside.get(name)  # type: ignore[call-overload]
        if twin is not None and twin.status_code != 101 and is_same_answer(attempt, twin):
            if lost and attempt.status_code != 403:
                return _lost_or_rewritten(proxy, code)
            return _other_host(check, code, proxy)
    is_about_origin = bare is None or check.route is None or check.route.require_origin
    if opens_without_origin or (attempt.status_code == 403 and is_about_origin):
        return _forbidden(check, proxy, opens_without_origin=opens_without_origin)
    return None


def _other_host(check: PlannedCheck, code: str, proxy: Proxy) -> Diagnosis:
    peer = check.peer if isinstance(check.peer, HttpProbe) else None
    if peer is None:  # pragma: no cover - there is no follow-up without one
        return Diagnosis(code, "", "")
    host = dict(peer.headers)["Host"]
    origin = dict(peer.headers).get("Origin", "none")
    if code == "port-lost":
        sent, why = host.rpartition(":")[0], "without the port"
    else:
        sent, why = own_host(peer), "with its own address"
    return Diagnosis(
        code,
        f"The service compares Origin ({origin}) with Host, and the proxy sends it another Host"
        f" than clients do: asked straight with Host: {host} it upgrades, and {why}, Host: {sent},"
        " it refuses in the same words.",
        words.HOST[proxy] + (" (with its port)." if code == "port-lost" else "."),
    )


def _lost_or_rewritten(proxy: Proxy, code: str) -> Diagnosis:
    return Diagnosis(
        "upgrade-not-forwarded",
        "The service gives the answer that it gives to a request without Upgrade, and to one with"
        " another Host alike: the proxy loses one or the other on the way.",
        f"{words.UPGRADE[proxy]}. {words.HOST[proxy]}.",
        (
            Alternative(
                code=code,
                tell="the proxy's configuration passes Upgrade and Connection on in this very"
                " place, and does not keep Host",
            ),
        ),
    )


def _upgrade_was_lost(attempts: Attempts) -> bool:
    """Whether the proxied handshake got what a request without an upgrade gets."""
    got = attempts.main
    if got.status_code == 426:  # Upgrade Required
        return True
    plain = attempts.plain
    if plain is None or plain.status_code is None:
        return got.status_code == 400
    return got.status_code == plain.status_code and (
        is_same_answer(got, plain) or got.status_code == 400
    )


def is_same_answer(one: Attempt, other: Attempt) -> bool:
    """Whether two answers have the same status and begin alike."""
    same_body = one.answer.body[:40] == other.answer.body[:40]
    return one.status_code == other.status_code and same_body


def _is_html(attempt: Attempt) -> bool:
    headers = {name.lower(): value.lower() for name, value in attempt.answer.headers}
    beginning = attempt.answer.body[:200].lstrip().lower()
    return headers.get("content-type", "").startswith("text/html") or beginning.startswith(
        (b"<!doctype html", b"<html")
    )


def _forbidden(check: PlannedCheck, proxy: Proxy, *, opens_without_origin: bool) -> Diagnosis:
    headers = dict(check.probe.headers) if isinstance(check.probe, HttpProbe) else {}
    origin = headers.get("Origin")
    if origin is None:
        return Diagnosis(
            "origin-blocked",
            "The proxy refuses requests without Origin, which programs other than browsers send.",
            f"Let {words.ORIGINS[proxy]} pass an empty Origin, or set require_origin: true.",
        )
    surely = "; without Origin, it lets the same request pass" if opens_without_origin else ""
    return Diagnosis(
        "origin-blocked",
        f"The proxy refuses {origin}{surely}.",
        f"Add it to origins: of the route ({words.ORIGINS[proxy]}).",
    )
