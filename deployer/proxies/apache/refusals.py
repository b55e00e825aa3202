"""Rules of Apache's that refuse a WebSocket, or make another request of it than is meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from deployer.proxies.apache.config import Directive
from deployer.proxies.apache.headers import is_conditional
from deployer.proxies.apache.rewrite import Rewritten, rules_of
from deployer.proxies.apache.virtual_hosts import address_of, catches_path
from deployer.proxies.inspect.model import Fault, fault

if TYPE_CHECKING:
    from deployer.proxies.apache.path import Way

_REFUSED = frozenset({"origin-blocked", "wrong-route", "handshake-refused", "page-instead"})
_ELSEWHERE = frozenset({"page-instead", "wrong-route", "slash-mismatch"})
_LIMITS = {
    "limitrequestfields": ("LimitRequestFields", 100),
    "limitrequestfieldsize": ("LimitRequestFieldSize", 8190),
    "limitrequestline": ("LimitRequestLine", 8190),
}
#: Fewer or shorter than this, and a browser's handshake does not fit.
_SMALL = {"limitrequestfields": 30, "limitrequestfieldsize": 2048, "limitrequestline": 1024}
_SERVER = ("http:", "https:", "ws:", "wss:")


def _text(rule: Directive, name: str = "RewriteRule") -> str:
    return f"{name} {' '.join(rule.words)}"


# --- rewrite rules --------------------------------------------------------------------------------


def by_rules(way: Way) -> Iterator[Fault]:
    """What the rule that decides does: refuse, make a file of it, ask for another path."""
    turned = way.rewritten
    if turned is None:
        yield from _engine_off(way)
    elif turned.refusal:
        yield fault(
            turned.rule,
            code="wrong-route",
            explains=_REFUSED,
            cause=(
                f"{_text(turned.rule)} answers {way.path} with {turned.refusal}"
                + ("." if turned.is_certain else ", if its conditions are true of the client.")
            ),
            fix="Leave the WebSocket's path out of that rule, by a RewriteCond on %{REQUEST_URI}.",
            statuses=frozenset({turned.refusal}),
        )
    elif turned.is_file:
        yield fault(
            turned.rule,
            code="page-instead",
            explains=_ELSEWHERE,
            cause=(
                f"{_text(turned.rule)} makes {turned.target} of {way.path}, which Apache then"
                " looks for among its files: no ProxyPass sees it any more."
            ),
            fix="Leave the WebSocket's path out of that rule, by a RewriteCond on %{REQUEST_URI}.",
            directive=f"RewriteCond %{{REQUEST_URI}} !^{way.path}",
        )
    elif turned.is_proxied and way.members:
        yield from _other_path(way, turned)
    elif turned.is_certain and turned.target.startswith("/") and not way.members:
        yield fault(
            turned.rule,
            code="page-instead",
            explains=_ELSEWHERE,
            cause=(
                f"{_text(turned.rule)} makes {turned.target} of {way.path}, which no ProxyPass"
                " takes."
            ),
            fix="Leave the WebSocket's path out of that rule, by a RewriteCond on %{REQUEST_URI}.",
            directive=f"RewriteCond %{{REQUEST_URI}} !^{way.path}",
        )


def _other_path(way: Way, turned: Rewritten) -> Iterator[Fault]:
    path = way.members[0].path.partition("?")[0] or "/"
    if path == way.path:
        return
    doubled = "//" in path and "//" not in way.path
    yield fault(
        turned.rule,
        code="slash-mismatch" if doubled else "page-instead",
        explains=frozenset({"page-instead", "slash-mismatch"} if doubled else {"page-instead"}),
        cause=f"{_text(turned.rule)} asks the service for {path} instead of {way.path}.",
        fix="Put into the address what the pattern has caught, with one slash before it.",
        directive=(
            f'RewriteRule "^/?(.*)" "{way.members[0].scheme}://'
            f'{address_of(way.members[0].upstream)}/$1" [P,L]'
        ),
        is_of_path=True,
    )


def _engine_off(way: Way) -> Iterator[Fault]:
    """Rules for WebSockets in a site that does not say RewriteEngine on; none is inherited."""
    rules = way.site.children if way.site is not None else []
    if any(each.name == "rewriteengine" for each in rules):
        return
    for each in rules:
        words = each.words
        if each.name == "rewriterule" and len(words) > 1 and words[1].lower().startswith("ws"):
            yield fault(
                each,
                code="upgrade-not-forwarded",
                explains=frozenset({"upgrade-not-forwarded"}),
                cause=f"{_text(each)} does nothing: its site has no RewriteEngine on.",
                fix="Write RewriteEngine on before it, in the same VirtualHost.",
                directive="RewriteEngine on",
            )
            return


def folder_rules(way: Way) -> Directive | None:
    """A rule of a ``<Directory>`` that is meant for WebSockets, or for this path; or the last word
    is with ``.htaccess`` files, which nobody reads here: then the line that lets them in."""
    allowed = None
    for section in _folders(way):
        for rule in rules_of(section.children):
            is_meant = rule.target.lower().startswith(_SERVER) and "p" in rule.flags
            if is_meant or rule.target.lower().startswith(("ws:", "wss:")):
                return rule.directive
        for each in section.children:
            if each.name == "allowoverride" and each.words[:1] not in ((), ("None",), ("none",)):
                allowed = each
    return allowed


def _folders(way: Way) -> Iterator[Directive]:
    root = way.setting("documentroot")
    folder = root.words[0].rstrip("/") if root is not None and root.words else ""
    groups = (way.config.directives, way.site.children if way.site is not None else ())
    for group in groups:
        for each in group:
            if each.is_section and each.name == "directory" and each.words and folder:
                name = each.words[-1].rstrip("/")
                if folder == name or folder.startswith(f"{name}/") or not name:
                    yield each


def in_folders(way: Way) -> Iterator[Fault]:
    """A rule of a folder whose pattern begins with a slash, which no path has there."""
    by = folder_rules(way)
    if by is None or by.name != "rewriterule" or way.members:
        return
    pattern = by.words[0]
    if not pattern.startswith(("^/", "/")) or pattern.startswith(("^/?", "/?")):
        return
    if catches_path(pattern, way.path, is_regex=True):
        bare = f"^{pattern.lstrip('^').removeprefix('/')}"
        yield fault(
            by,
            code="wrong-route",
            explains=_ELSEWHERE | {"upgrade-not-forwarded", "handshake-refused"},
            cause=(
                f"{_text(by)} stands in a <Directory>, where paths are without their first slash:"
                " it never applies."
            ),
            fix="Write the pattern without that slash, or move the rule out of <Directory>.",
            directive=f"RewriteRule {' '.join((bare, *by.words[1:]))}",
        )


# --- access ---------------------------------------------------------------------------------------


def _levels(way: Way) -> Iterator[Directive]:
    """Every section whose access rules hold: the site's proxies, locations, and what is in them."""
    target = way.passed.target if way.passed is not None else ""
    if not target and way.rewritten is not None and way.rewritten.is_proxied:
        target = way.rewritten.target
    groups = (way.config.directives, way.site.children if way.site is not None else ())
    for group in groups:
        for each in group:
            if each.is_section and each.name == "proxy" and target and each.words:
                pattern = each.words[0]
                if pattern == "*" or target.startswith(pattern.rstrip("*")):
                    yield from _with_inner(each)
    for each in way.locations:
        yield from _with_inner(each)
    for each in way.site.children if way.site is not None else ():
        if each.is_section and each.name == "if" and _is_of_websockets(each):
            yield each


def _with_inner(section: Directive) -> Iterator[Directive]:
    yield section
    for each in section.children:
        methods = {word.upper() for word in each.words}
        is_get = (each.name == "limit" and "GET" in methods) or (
            each.name == "limitexcept" and "GET" not in methods
        )
        if each.is_section and (is_get or each.name in ("requireall", "requireany")):
            yield from _with_inner(each)
        elif each.is_section and each.name == "if" and _is_of_websockets(each):
            yield each


def _is_of_websockets(section: Directive) -> bool:
    text = " ".join(section.words).lower()
    return "upgrade" in text and "origin" not in text


_BY_ADDRESS = ("ip", "host", "local", "forward-dns")


def by_access(way: Way) -> Iterator[Fault]:
    """Who is let in: Require by address, and the older Order, Allow and Deny."""
    for section in _levels(way):
        for each in section.children:
            words = [word.lower() for word in each.words]
            if each.name == "require" and words[:1] and words[0] in _BY_ADDRESS:
                yield _for_some(each, "Require", way)
            elif each.name == "require" and words == ["all", "denied"]:
                yield _for_all(each, "Require", section, way)
            elif each.name == "deny" and words[:1] == ["from"]:
                is_all = words[1:2] == ["all"]
                lets_in = any(other.name == "allow" for other in section.children)
                is_for_all = is_all and not lets_in
                make = _for_all if is_for_all else None
                yield (make(each, "Deny", section, way) if make else _for_some(each, "Deny", way))


def _for_all(by: Directive, name: str, section: Directive, way: Way) -> Fault:
    where = f"<{section.name.capitalize()} {' '.join(section.words)}>"
    return fault(
        by,
        code="wrong-route",
        explains=_REFUSED | {"login-required"},
        cause=(
            f"{_text(by, name)} in {where}: Apache refuses every request for {way.path}, with 403."
        ),
        fix="Let that rule spare the WebSocket's path.",
        directive="Require all granted",
        statuses=frozenset({403}),
    )


def _for_some(by: Directive, name: str, way: Way) -> Fault:
    return fault(
        by,
        code="wrong-route",
        explains=_REFUSED,
        cause=(
            f"{_text(by, name)}: Apache lets in some clients for {way.path}, and answers 403 to"
            " the others (asked on the host itself, the client is the host)."
        ),
        fix="Let in those who are meant.",
        statuses=frozenset({403}),
        is_by_address=True,
    )


# --- sizes, headers, balancers --------------------------------------------------------------------


def by_limits(way: Way) -> Iterator[Fault]:
    """Limits so low that the headers of a handshake do not fit: 400."""
    for name, (shown, usual) in _LIMITS.items():
        found = way.setting(name)
        number = found.words[0] if found is not None and found.words else ""
        if found is None or not number.isdigit() or not 0 < int(number) < _SMALL[name]:
            continue
        yield fault(
            found,
            code="handshake-refused",
            explains=frozenset({"handshake-refused", "upgrade-not-forwarded"}),
            cause=f"{shown} {number} is less than a handshake needs: Apache answers 400 to it.",
            fix=f"Remove that line ({usual} is what Apache has by itself).",
            directive=f"{shown} {usual}",
            statuses=frozenset({400, 414}),
        )


def by_headers(way: Way) -> Iterator[Fault]:
    """RequestHeader lines that take other headers of the handshake away."""
    for each in way.config.all_of("requestheader", way.site, *way.locations):
        words = [word.lower() for word in each.words]
        if len(words) < 2 or is_conditional(each) or words[0] not in ("unset", "set", "edit"):
            continue
        if words[1] in ("sec-websocket-key", "sec-websocket-version"):
            yield fault(
                each,
                code="upgrade-not-forwarded",
                explains=frozenset({"upgrade-not-forwarded", "bad-gateway", "handshake-refused"}),
                cause=(
                    "What every handshake must have is taken away by"
                    f" {_text(each, 'RequestHeader')}."
                ),
                fix="Remove that line.",
            )
        elif words[1] == "sec-websocket-protocol":
            yield fault(
                each,
                code="subprotocol-missing",
                explains=frozenset(
                    {"subprotocol-missing", "subprotocols-refused", "handshake-refused"}
                ),
                cause=(
                    "The service is not told of the subprotocols that clients offer:"
                    f" {_text(each, 'RequestHeader')}."
                ),
                fix="Remove that line.",
            )
        elif words[1] == "origin":
            yield fault(
                each,
                code="origin-required",
                explains=frozenset({"origin-blocked", "origin-required"}),
                cause=(
                    f"{_text(each, 'RequestHeader')} changes Origin, and the service judges by it."
                ),
                fix="Remove that line, and let the service know the site's origin.",
            )


def by_balancer(way: Way) -> Iterator[Fault]:
    """A balancer that has no member, or none that is in use: 503."""
    passed = way.passed
    if passed is None or not passed.target.lower().startswith("balancer://"):
        return
    broken = frozenset({"bad-gateway", "wrong-route", "handshake-refused"})
    if not way.members:
        name = passed.target[len("balancer://") :].partition("/")[0]
        yield fault(
            passed.directive,
            code="bad-gateway",
            explains=broken,
            cause=f"There is no BalancerMember of balancer://{name}: Apache answers 503.",
            fix=f"Write the same name here and in <Proxy balancer://{name}>.",
        )
    elif all({"d", "s", "e"} & set(each.options.get("status", "").lower()) for each in way.members):
        yield fault(
            way.members[0].directive,
            code="bad-gateway",
            explains=broken,
            cause=(
                f"{_text(way.members[0].directive, 'BalancerMember')} takes it out of use, and no"
                " other member is in use: Apache answers 503."
            ),
            fix="Remove status= from that line.",
        )


def by_match(way: Way) -> Iterator[Fault]:
    """A ProxyPass in <LocationMatch>: its pattern is taken for a path, and never matches."""
    for section in way.locations:
        is_pattern = section.name == "locationmatch" or section.words[:1] == ("~",)
        for each in section.children if is_pattern else ():
            if each.name == "proxypass" and each.words and each.words[0] != "!":
                yield fault(
                    each,
                    code="wrong-route",
                    explains=_REFUSED | {"slash-redirect"},
                    cause=(
                        f"{_text(each, 'ProxyPass')} stands in <LocationMatch>, where the pattern"
                        " is taken for a path: it takes nothing."
                    ),
                    fix="Write ProxyPassMatch instead, or use <Location>.",
                    directive=f"ProxyPassMatch {each.words[0].rstrip('/')}$0",
                )


def by_certificate(way: Way) -> Iterator[Fault]:
    """A service's certificate that Apache judges; by itself it compares the name alone."""
    if not way.members or not way.members[0].upstream.tls or not way.is_on("sslproxyengine"):
        return
    log = [line for line in way.state.log if "AH02411" in line or "AH02039" in line]
    by = way.setting("sslproxyverify") or way.members[0].directive
    off = way.setting("sslproxycheckpeername")
    checks = off is None or [word.lower() for word in off.words[:1]] != ["off"]
    if not checks and not log:
        return
    yield fault(
        way.members[0].directive if checks else by,
        code="bad-gateway",
        explains=frozenset(
            {"bad-gateway", "wrong-route"} | ({"handshake-refused"} if log else set())
        ),
        cause=(
            f"Apache checks that the service's certificate is for {way.members[0].upstream.host}"
            " (SSLProxyCheckPeerName, on by default), and answers 500 if it is not"
            + (": its log says so (AH02411)." if log else ".")
        ),
        fix="Use the name that is in the service's certificate; on loopback, the check may be off.",
        directive="SSLProxyCheckPeerName off",
    )


def by_proxy_line(way: Way) -> Iterator[Fault]:
    """mod_remoteip that waits for a PROXY line, and hangs up on clients that send none."""
    found = way.setting("remoteipproxyprotocol")
    if found is not None and way.is_on("remoteipproxyprotocol"):
        yield fault(
            found,
            code="connection-dropped",
            explains=frozenset(
                {"connection-dropped", "not-http", "tls-failed", "handshake-refused"}
            ),
            cause=(
                "RemoteIPProxyProtocol On expects each connection to begin with a PROXY line, as"
                " a load balancer in front sends it, and drops clients that send none."
            ),
            fix="Set it Off where clients come straight to Apache.",
            directive="RemoteIPProxyProtocol Off",
        )


RULES: tuple[Callable[[Way], Iterator[Fault]], ...] = (
    by_proxy_line,
    by_rules,
    by_match,
    in_folders,
    by_balancer,
    by_headers,
    by_access,
    by_limits,
    by_certificate,
)
