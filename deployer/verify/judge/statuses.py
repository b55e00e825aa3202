"""Diagnose a proxy's status other than 101 if the service itself upgrades, or refuses otherwise.

Pure.

The status decides, together with the service's response without an upgrade (`plain`) and the
follow-ups, which change one thing each (`planned/follow_ups.py`). If they do not decide, the
finding lists the alternatives and how to check them.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from deployer.model import Alternative, Proxy
from deployer.proxies import PROXIES
from deployer.verify.judge.attempts import Attempts
from deployer.verify.judge.causes import REDIRECTS, Diagnosis
from deployer.verify.net.redact import without_secrets
from deployer.verify.planned.follow_ups import own_host
from deployer.verify.planned.model import PlannedCheck
from deployer.verify.probe.attempt import Attempt, printable
from deployer.verify.probe.spec import HttpProbe, PlannedProbe


def status_at_proxy(check: PlannedCheck, attempts: Attempts, proxy: Proxy) -> Diagnosis:
    """Diagnose the status that the proxy answers `check` with."""
    words = PROXIES[proxy].words
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
            "The service answers 505: the proxy speaks HTTP/1.0 to it, but WebSockets require"
            " HTTP/1.1.",
            f"{words.upgrade}.",
        )
    if status == 401:
        return _login_required(attempt, proxy)
    opens_directly = attempts.peer is None or attempts.peer.failure is None
    host_or_origin = _host_or_origin(check, attempts, proxy) if opens_directly else None
    if host_or_origin is not None:
        return host_or_origin
    if status in (403, 429) and opens_directly:
        return _refused_for_all(status, proxy)
    if _upgrade_was_lost(attempts):
        return Diagnosis(
            "upgrade-not-forwarded",
            "The proxy reaches the service but does not forward Upgrade and Connection, so the"
            " service sees an ordinary request.",
            f"{words.upgrade}.",
        )
    return _other_status(attempt, proxy)


def _other_status(attempt: Attempt, proxy: Proxy) -> Diagnosis:
    """Diagnose a status that differs from the service's if the follow-ups do not explain it."""
    status, words = attempt.status_code, PROXIES[proxy].words
    if status == 400 and not _is_html(attempt):
        return _refused_as_malformed(proxy)
    if status == 200 and _is_html(attempt):
        return Diagnosis(
            "page-instead",
            "A page is served instead of the service's WebSocket: the proxy sends this path"
            " elsewhere, strips its prefix, or serves a file for it (the fallback of a single-page"
            " app).",
            f"Compare {words.backend} and strip_prefix with the service's path; exclude it"
            " from fallbacks (try_files, FallbackResource).",
        )
    return Diagnosis(
        "wrong-route",
        "The proxy answers this path differently from the service: the request went to a different"
        " site, location or path.",
        f"Check which site and path the proxy selects ({words.backend}), strip_prefix, and"
        " whether a default site takes the name.",
        (
            Alternative(
                code="slash-mismatch",
                tell="the service's log shows the path with an extra or a missing slash",
            ),
        ),
    )


def _login_required(attempt: Attempt, proxy: Proxy) -> Diagnosis:
    """Diagnose a 401 if the service itself opens the connection."""
    words = PROXIES[proxy].words
    headers = {name.lower(): value for name, value in attempt.answer.headers}
    scheme = printable(headers.get("www-authenticate", "").partition(" ")[0], limit=20)
    wanted = f" ({scheme})" if scheme else ""
    return Diagnosis(
        "login-required",
        f"The proxy requires a login{wanted}, while the service itself opens the same connection"
        " without one.",
        f"{words.login} Browsers only send an Authorization header with a WebSocket"
        " handshake if they have logged in on a page before.",
        (
            Alternative(
                code="wrong-route",
                tell="the proxy has no rule that requires a login: a different service answers,"
                " which requires one",
            ),
        ),
    )


def _refused_for_all(status: int, proxy: Proxy) -> Diagnosis:
    """Diagnose a refusal that is the same with and without an Origin."""
    words = PROXIES[proxy].words
    if status == 429:
        cause = "A rate limit refuses this path; the service itself does not."
    else:
        cause = (
            "The proxy refuses this path with and without Origin, while the service opens it: an"
            " access rule, a filter or a login applies before the service."
        )
    return Diagnosis(
        "handshake-refused",
        cause,
        f"{words.access} The proxy's error log names the rule.",
        (
            Alternative(
                code="origin-blocked",
                tell="the rule that the log names checks Origin, and also refuses a missing one",
            ),
            Alternative(
                code="wrong-route",
                tell="the request appears in the log of a different site, location or service",
            ),
        ),
    )


def _refused_as_malformed(proxy: Proxy) -> Diagnosis:
    """Diagnose a 400 that is not a proxy's page: the service rejects the forwarded request."""
    words = PROXIES[proxy].words
    return Diagnosis(
        "upgrade-not-forwarded",
        "The service does not recognise the proxy's request as a handshake, but accepts the same"
        " one directly: headers or HTTP/1.1 are lost in the proxy.",
        f"{words.upgrade}.",
        (
            Alternative(
                code="http-1.0-upstream",
                tell="the response or the service's log mentions the HTTP version",
            ),
            Alternative(
                code="slash-mismatch",
                tell="the service's log shows the path with an extra or a missing slash",
            ),
        ),
    )


def mentions_plain_http(attempt: Attempt) -> bool:
    """Whether a TLS port reports that it received plain HTTP."""
    # The messages of nginx, Go's net/http and Apache.
    body = attempt.answer.body.lower()
    return attempt.status_code == 400 and (
        b"plain http request was sent to https port" in body
        or b"http request to an https server" in body
        or b"speaking plain http to an ssl-enabled server port" in body
    )


def location_of(attempt: Attempt) -> str:
    """Return the Location of a redirect, or an empty text."""
    headers = {name.lower(): value for name, value in attempt.answer.headers}
    return headers.get("location", "")


def asked_url(probe: PlannedProbe) -> str:
    """Return the URL of a request, from its Host and X-Forwarded-Proto."""
    if not isinstance(probe, HttpProbe):
        return probe.uri
    headers = dict(probe.headers)
    scheme = headers.get("X-Forwarded-Proto") or ("https" if probe.endpoint.tls else "http")
    return f"{scheme}://{headers.get('Host', probe.endpoint)}{probe.target}"


def redirect_kind(asked: str, location: str) -> str:
    """Return the code of the finding for a redirect from the URL `asked` to `location`."""
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
    """Diagnose plain HTTP on a TLS port; whether our request used TLS shows whose port it is."""
    words = PROXIES[proxy].words
    endpoint = check.probe.endpoint
    if endpoint.tls or not PROXIES[proxy].traits.has_plain_http_page:
        return Diagnosis(
            "upstream-scheme",
            "The proxy speaks plain HTTP to a port of the service that expects TLS.",
            f"Write https:// in the route's upstream ({words.backend}).",
        )
    return Diagnosis(
        "plain-http-on-https",
        f"Plain HTTP was sent to a TLS port: {endpoint} expects TLS.",
        f"Write {words.tls_port}, and wss:// in clients; or serve the site without TLS on a"
        " separate port.",
        (
            Alternative(
                code="upstream-scheme",
                tell="the Server header of the response is the service's, not the proxy's",
            ),
        ),
    )


def _bad_gateway(status: int | None, attempts: Attempts, proxy: Proxy) -> Diagnosis:
    words = PROXIES[proxy].words
    backend = words.backend
    peer = attempts.peer
    took = f" (directly, it answers in {peer.seconds * 1000:.0f} ms)" if peer else ""
    if status == 504:
        cause = (
            "The proxy gets no response from its upstream: it is configured with a wrong address,"
            f" or with one that drops its connections{took}."
        )
    else:
        cause = (
            "The proxy does not reach the service or does not understand it: it is configured with "
            "a wrong address, with TLS for a service without it, or the system blocks its "
            "connections; without a list of upstreams, it may also still wait after an earlier "
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
                tell="the address in the proxy's error log is right, and its message is about TLS,"
                " or about an invalid or unexpected header",
            ),
            Alternative(
                code="connections-exhausted",
                tell="the proxy's log reports limited requests or connections, or a full queue",
            ),
            Alternative(
                code="service-down",
                tell="the service was restarted in the meantime: verify again",
            ),
        ),
    )


def _redirect(check: PlannedCheck, attempt: Attempt, proxy: Proxy) -> Diagnosis:
    words = PROXIES[proxy].words
    location = location_of(attempt)
    shown = without_secrets(printable(location)) or "nowhere"
    kind = redirect_kind(asked_url(check.probe), location)
    if kind == "redirect-loop":
        return Diagnosis(
            kind,
            f"It redirects to itself ({shown}): the app forces HTTPS and does not know that the "
            "request came over HTTPS.",
            "Set X-Forwarded-Proto to https in the proxy, as deployer's own sites do.",
        )
    if kind == "slash-redirect":
        return Diagnosis(
            kind,
            f"It redirects to {shown}, which differs only in the trailing slash; WebSocket clients "
            "do not follow redirects.",
            "Also serve the path without the slash"
            + (f", with {words.slash}." if words.slash else "."),
        )
    if kind == "https-redirect":
        return Diagnosis(
            kind,
            f"The site redirects to HTTPS ({shown}), but the playbook serves it without TLS.",
            "Give the site a tls: issuer; clients then use wss://.",
        )
    return Diagnosis(
        "redirected",
        f"The proxy redirects to {shown}; WebSocket clients do not follow redirects.",
        f"Remove the redirect for this path from the configuration of {PROXIES[proxy].unit}.",
    )


def _host_or_origin(check: PlannedCheck, attempts: Attempts, proxy: Proxy) -> Diagnosis | None:
    """Diagnose a refusal that depends on Host or Origin; `None` if nothing indicates one."""
    attempt, follow_ups = attempts.main, attempts.follow_ups
    bare = follow_ups.get("without-origin")
    opens_without_origin = bare is not None and bare.status_code == 101
    lost = not opens_without_origin and _upgrade_was_lost(attempts)
    for name, code in (("without-port", "port-lost"), ("rewritten", "host-rewritten")):
        twin = follow_ups.get(name)  # type: ignore[call-overload]
        if twin is not None and twin.status_code != 101 and is_same_answer(attempt, twin):
            if lost and attempt.status_code != 403:
                return _lost_or_rewritten(proxy, code)
            return _wrong_host(check, code, proxy)
    is_about_origin = bare is None or check.route is None or check.route.require_origin
    if opens_without_origin or (attempt.status_code == 403 and is_about_origin):
        return _forbidden(check, proxy, opens_without_origin=opens_without_origin)
    return None


def _wrong_host(check: PlannedCheck, code: str, proxy: Proxy) -> Diagnosis:
    words = PROXIES[proxy].words
    peer = check.peer if isinstance(check.peer, HttpProbe) else None
    if peer is None:  # pragma: no cover - there is no follow-up without one
        return Diagnosis(code, "", "")
    host = dict(peer.headers)["Host"]
    origin = dict(peer.headers).get("Origin", "none")
    if code == "port-lost":
        sent, how = host.rpartition(":")[0], "without the port"
    else:
        sent, how = own_host(peer), "with its own address"
    return Diagnosis(
        code,
        f"The service compares Origin ({origin}) with Host, but the proxy sends a different Host"
        f" than clients do: directly, it upgrades with Host: {host}, and refuses with the same"
        f" response {how}, Host: {sent}.",
        words.host + (" (with its port)." if code == "port-lost" else "."),
    )


def _lost_or_rewritten(proxy: Proxy, code: str) -> Diagnosis:
    words = PROXIES[proxy].words
    return Diagnosis(
        "upgrade-not-forwarded",
        "The service answers as it does to a request without Upgrade, or with a different Host: the"
        " proxy loses one of the two.",
        f"{words.upgrade}. {words.host}.",
        (
            Alternative(
                code=code,
                tell="the proxy's configuration forwards Upgrade and Connection in this location,"
                " but does not keep Host",
            ),
        ),
    )


def _upgrade_was_lost(attempts: Attempts) -> bool:
    """Whether the proxied handshake got the response to a request without an upgrade."""
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
    """Whether two responses have the same status and beginning."""
    same_body = one.answer.body[:40] == other.answer.body[:40]
    return one.status_code == other.status_code and same_body


def _is_html(attempt: Attempt) -> bool:
    headers = {name.lower(): value.lower() for name, value in attempt.answer.headers}
    beginning = attempt.answer.body[:200].lstrip().lower()
    return headers.get("content-type", "").startswith("text/html") or beginning.startswith(
        (b"<!doctype html", b"<html")
    )


def _forbidden(check: PlannedCheck, proxy: Proxy, *, opens_without_origin: bool) -> Diagnosis:
    words = PROXIES[proxy].words
    headers = dict(check.probe.headers) if isinstance(check.probe, HttpProbe) else {}
    origin = headers.get("Origin")
    if origin is None:
        return Diagnosis(
            "origin-blocked",
            "The proxy refuses requests without Origin, which all clients except browsers send.",
            f"Make {words.origins} accept an empty Origin, or set require_origin: true.",
        )
    proof = "; without Origin, it accepts the same request" if opens_without_origin else ""
    return Diagnosis(
        "origin-blocked",
        f"The proxy refuses {origin}{proof}.",
        f"Add it to the route's origins: ({words.origins}).",
    )
