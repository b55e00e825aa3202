"""Faults in where nginx sends a handshake: redirects, files, changed paths. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.proxies.inspect.model import Fault, fault
from deployer.proxies.nginx import access
from deployer.proxies.nginx.config import Directive
from deployer.proxies.nginx.headers import OF_LOST_UPGRADE
from deployer.proxies.nginx.match import modifier_of
from deployer.proxies.nginx.path import Trace

_OTHER_PASSES = {
    "fastcgi_pass": "FastCGI",
    "uwsgi_pass": "the uwsgi protocol",
    "scgi_pass": "SCGI",
    "grpc_pass": "gRPC",
    "memcached_pass": "memcached",
}
_OF_REDIRECT = frozenset({"redirected", "https-redirect", "redirect-loop", "slash-redirect"})
_OF_PATH = frozenset(
    {
        *("page-instead", "wrong-route", "slash-mismatch", "backend-not-websocket"),
        *("redirected", "slash-redirect", "upgrade-not-forwarded"),
    }
)


def faults(trace: Trace, path: str) -> Iterator[Fault]:
    """The faults in where a request goes."""
    slash = trace.match.slash_from
    if slash is not None:
        yield _slash_redirect(slash, path)
        return
    answering = trace.answering
    if answering is not None:
        yield from _answered(answering, trace)
        return
    yield from access.faults(trace)
    passing = trace.passing
    if passing is None:
        yield _files(trace, path)
    elif passing.name != "proxy_pass":
        yield fault(
            passing,
            code="upgrade-not-forwarded",
            explains=OF_LOST_UPGRADE,
            cause=(
                f"{passing.name} speaks {_OTHER_PASSES[passing.name]} to the service, which"
                " cannot carry a WebSocket."
            ),
            fix="Use proxy_pass to a port on which the service speaks HTTP.",
            directive="proxy_pass http://…;",
            is_certain=True,
        )
    else:
        yield from _of_target(trace, path)


def _slash_redirect(location: Directive, path: str) -> Fault:
    return fault(
        location,
        code="slash-redirect",
        explains=_OF_REDIRECT,
        cause=(
            f"nginx only has a location for {path}/, so it redirects {path} to it; WebSocket"
            " clients do not follow."
        ),
        fix=f"Also serve {path}, with an exact location next to this one.",
        directive=f"location = {path} {{ … }}",
        is_certain=True,
    )


def _answered(answering: Directive, trace: Trace) -> Iterator[Fault]:
    code = answering.words[0] if answering.words else ""
    to = trace.values.of(answering.words[-1]) if answering.words else None
    words = f"{answering} answers every request here"
    if code in ("301", "302", "303", "307", "308") or (to or "").startswith("http"):
        yield fault(
            answering,
            code=_kind_of_redirect(to or answering.words[-1], trace),
            explains=_OF_REDIRECT,
            cause=f"{words}, including this path; WebSocket clients do not follow redirects.",
            fix=(
                "Let clients use the target address (wss:// for https://), or exclude this path"
                " from"
                " the redirect."
            ),
            is_certain=True,
        )
        return
    yield fault(
        answering,
        code="wrong-route",
        explains=frozenset({"wrong-route", "page-instead", "origin-blocked", "redirected"}),
        cause=f"{words}, and nothing reaches a service.",
        fix="Add a separate location with proxy_pass for the path.",
        is_certain=True,
    )


def _kind_of_redirect(to: str, trace: Trace) -> str:
    own = _own(trace)
    if trace.match.is_tls and to == own:
        return "redirect-loop"
    if to.rstrip("/") == own.rstrip("/"):
        return "slash-redirect" if trace.match.is_tls else "https-redirect"
    return "https-redirect" if to.startswith("https:") and not trace.match.is_tls else "redirected"


def _own(trace: Trace) -> str:
    given = trace.values.given
    return f"https://{given['http_host']}{given['uri']}"


def _files(trace: Trace, path: str) -> Fault:
    block = trace.match.innermost
    tried = trace.match.value("try_files") if block.last("try_files") else None
    place = tried or block
    what = f"by {tried}" if tried else "from files"
    where = "location" if trace.match.location is not None else "server"
    return fault(
        place,
        code="page-instead",
        explains=frozenset(
            {"page-instead", "wrong-route", "upgrade-not-forwarded", "backend-not-websocket"}
        ),
        cause=f"nginx answers {path} {what}: this {where} has no proxy_pass.",
        fix=f"Add a separate location with proxy_pass for {path}.",
        directive=f"location {path} {{ proxy_pass http://…; }}",
        is_certain=True,
    )


def _of_target(trace: Trace, path: str) -> Iterator[Fault]:
    target = trace.target
    if target is None:
        return
    there = trace.path_at_service
    location = next((each for each in reversed(trace.match.blocks) if each.words), None)
    mismatch = location is not None and _is_mismatch(location, target.uri)
    rewriting = trace.rewriting
    if rewriting is not None and there != path:
        yield fault(
            rewriting[0],
            code="wrong-route",
            explains=_OF_PATH,
            cause=f"The service is asked for {there}, not for {path}: {rewriting[0]} changes it.",
            fix="Exclude this path from the rewrite, or rewrite it to the service's own path.",
            is_of_path=True,
            tell="Request both paths from the service itself.",
        )
    elif there != path:
        is_slash = "//" in there or (mismatch and there not in ("/", path))
        yield fault(
            target.directive,
            code="slash-mismatch" if is_slash else "page-instead",
            explains=_OF_PATH,
            cause=(
                f"The service is asked for {there}, not for {path}: {target.directive}"
                f" replaces the path of {location or 'the location'} with its own."
            ),
            fix=(
                "Remove the path from proxy_pass, so that the service is asked for the same path."
                if not is_slash
                else "End both the location and proxy_pass with a slash, or neither."
            ),
            directive=f"proxy_pass {_without_path(target.directive)};",
            is_of_path=True,
            tell="Request both paths from the service itself.",
        )
    upstream = target.upstreams[0] if target.upstreams else None
    if upstream is not None:
        yield fault(
            target.directive,
            code="service-down",
            explains=frozenset({"service-down"}),
            cause="",
            fix="",
        )
        yield from _of_certificate(trace)
        scheme = "http" if upstream.tls else "https"
        speaks, wants = (
            ("TLS", "does not speak TLS") if upstream.tls else ("plain HTTP", "expects TLS")
        )
        _, _, address = _without_path(target.directive).partition("://")
        yield fault(
            target.directive,
            code="upstream-scheme",
            explains=frozenset({"upstream-scheme"}),
            cause=f"{target.directive} speaks {speaks} to a service that {wants}.",
            fix=f"Write {scheme}:// in proxy_pass, or change the service.",
            directive=f"proxy_pass {scheme}://{address};",
        )


def _of_certificate(trace: Trace) -> Iterator[Fault]:
    """A certificate of the service that nginx verifies, and may reject."""
    verify, by = trace.match.value("proxy_ssl_verify"), "proxy_ssl_trusted_certificate"
    if verify is None or verify.words != ("on",):
        return
    given, name = trace.match.value(by), trace.match.value("proxy_ssl_name")
    signed = given.words[0] if given is not None and given.words else "a known CA"
    place = f" and it is for {name.words[0]}" if name is not None and name.words else ""
    yield fault(
        given or verify,
        code="upstream-certificate",
        explains=frozenset({"upstream-certificate"}),
        cause="",
        fix="",
    )
    yield fault(
        given or verify,
        code="upstream-certificate",
        explains=frozenset({"bad-gateway"}),
        cause=(
            f"nginx accepts the service's certificate only if {signed} signed it{place}; otherwise"
            " it answers 502, and its error log has the reason."
        ),
        fix="Set the CA that signed the service's certificate, and a name in the certificate.",
        directive=f"{by} FILE; proxy_ssl_name NAME;",
    )


def _is_mismatch(location: Directive, uri: str | None) -> bool:
    sign, word = modifier_of(location)
    if uri is None or sign in ("=", "~", "~*"):
        return False
    return word.endswith("/") is not uri.endswith("/")


def _without_path(passing: Directive) -> str:
    scheme, _, rest = passing.words[0].partition("://")
    if rest.startswith("unix:"):
        socket = rest[len("unix:") :].partition(":")[0]
        return f"{scheme}://unix:{socket}"
    return f"{scheme}://{rest.partition('/')[0]}"
