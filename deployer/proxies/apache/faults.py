"""What is wrong on a request's way through Apache: each rule a function, the certain ones first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from deployer.proxies.apache import pointers, refusals
from deployer.proxies.apache.config import Directive, config_of
from deployer.proxies.apache.headers import edited, is_conditional
from deployer.proxies.apache.rewrite import flags_of, holds, request_variables, rules_of
from deployer.proxies.apache.virtual_hosts import Pass, address_of, catches_path, passes_of
from deployer.proxies.apache.workers import is_looked_up
from deployer.proxies.inspect.model import Fault, ProxyState, fault

if TYPE_CHECKING:
    from deployer.proxies.apache.path import Way

_LOST = frozenset({"upgrade-not-forwarded"})
_ELSEWHERE = frozenset({"wrong-route", "page-instead", "slash-redirect", "redirected"})
_SINCE_UPGRADE = (2, 4, 47)


def of_way(way: Way) -> tuple[Fault, ...]:
    """All faults on the way of one request, the most certain first."""
    found = [fault for rule in refusals.RULES for fault in rule(way)]
    for rule in _RULES:
        fault = rule(way)
        if fault is not None:
            found.append(fault)
    return (*found, *pointers.of_way(way))


def of_no_port(state: ProxyState, port: int) -> tuple[Fault, ...]:
    """No Listen line has the port that was asked at."""
    lines = [each for each in config_of(state).all_of("listen") if each.words]
    if not lines:
        return ()
    addresses = ", ".join(each.words[0] for each in lines)
    return (
        fault(
            lines[-1],
            code="proxy-down",
            explains=frozenset({"proxy-down", "tls-not-spoken"}),
            cause=f"No Listen line of Apache's files has port {port}: they name {addresses}.",
            fix=f"Add Listen {port}, and restart Apache.",
            directive=f"Listen {port}",
        ),
    )


# --- which site, which rule -----------------------------------------------------------------------


def _other_site(way: Way) -> Fault | None:
    if way.is_named or way.site is None:
        return None
    return fault(
        way.site,
        code="wrong-route",
        explains=_ELSEWHERE | _LOST | {"tls-wrong-name", "bad-gateway"},
        cause=(
            f"No VirtualHost of port {way.port} has the name {way.name}, so the first one of that"
            f" port answers ({way.site.where})."
        ),
        fix=f"Give the site that is meant a ServerName or ServerAlias {way.name}.",
        directive=f"ServerAlias {way.name}",
    )


def _redirecting_rule(way: Way) -> Fault | None:
    turned = way.rewritten
    if turned is None or not turned.redirect:
        return None
    rule = f"RewriteRule {' '.join(turned.rule.words)}"
    to_https = turned.target.lower().startswith("https:")
    if to_https and not way.tls:
        return fault(
            turned.rule,
            code="https-redirect",
            explains=frozenset({"https-redirect", "redirected"}),
            cause=(
                f"{rule} sends everything on port {way.port} to HTTPS, and WebSocket clients do"
                " not follow."
            ),
            fix="Connect to wss://, which is the other site; this one is right as it is.",
        )
    loops = to_https and way.tls
    return fault(
        turned.rule,
        code="redirect-loop" if loops else "redirected",
        explains=frozenset({"redirect-loop", "redirected"} if loops else _ELSEWHERE),
        cause=f"{rule} redirects {way.path} to {turned.target}.",
        fix="Leave the WebSocket's path out of that rule, by a RewriteCond on %{REQUEST_URI}.",
    )


def _redirecting_alias(way: Way) -> Fault | None:
    if way.passed is not None or way.members or way.site is None:
        return None
    for each in way.site.children:
        if each.name in ("redirect", "redirectmatch", "redirectpermanent", "redirecttemp"):
            words = [word for word in each.words if not word.isalnum()]
            by_pattern = each.name == "redirectmatch"
            catches = words[:1] and catches_path(words[0], way.path, is_regex=by_pattern)
            if catches and len(words) > 1:
                https = words[1].lower().startswith("https:") and not way.tls
                code = "https-redirect" if https else "redirected"
                return fault(
                    each,
                    code=code,
                    explains=frozenset({code, "redirected"}),
                    cause=(
                        f"Redirect {' '.join(each.words)} answers {way.path} on port"
                        f" {way.port}; WebSocket clients do not follow."
                    ),
                    fix=(
                        "Connect to wss://, which is the other site."
                        if https
                        else "Leave the WebSocket's path out of that redirect."
                    ),
                )
    return None


def _recipe_that_misses(way: Way) -> Fault | None:
    """A rewrite rule for WebSockets that does not take them, for one of its conditions."""
    site = way.site.children if way.site is not None else way.config.directives
    if way.rewritten is not None and way.rewritten.is_proxied:
        return None
    asked = request_variables(name=way.name, port=way.port, path=way.path, tls=way.tls)
    for rule in rules_of(site):
        is_meant = rule.target.lower().startswith(("ws:", "wss:")) and "p" in rule.flags
        is_meant = is_meant and catches_path(rule.pattern, way.path, is_regex=True)
        for condition in rule.conditions if is_meant else ():
            answer, _ = holds(condition, asked)
            if answer is False and "upgrade" in condition.words[0].lower():
                nocase = flags_of(condition.words[2:]) & {"nc", "nocase"}
                why = "" if nocase else ", and without [NC] it tells capitals from small letters"
                return fault(
                    condition,
                    code="upgrade-not-forwarded",
                    explains=_LOST,
                    cause=(
                        f"RewriteCond {' '.join(condition.words)} is not true of WebSocket"
                        " clients, which send `Upgrade: websocket` and `Connection: Upgrade`"
                        f"{why}: the rule after it never applies."
                    ),
                    fix=(
                        "Add [NC] to the condition, or replace the recipe by upgrade=websocket at"
                        " the ProxyPass."
                    ),
                    directive="RewriteCond %{HTTP:Upgrade} =websocket [NC]",
                )
    return None


def _rule_without_upgrade(way: Way) -> Fault | None:
    turned = way.rewritten
    if turned is None or not turned.is_proxied or not way.members:
        return None
    member = way.members[0]
    if way.upgrades:
        return None
    scheme = "wss" if member.upstream.tls else "ws"
    return fault(
        turned.rule,
        code="upgrade-not-forwarded",
        explains=_LOST,
        cause=(
            f"RewriteRule … {turned.rule.words[1]} [P] passes {way.path} on as an ordinary"
            " request: it is without Upgrade for the service."
        ),
        fix=(
            f"Write {scheme}:// in that rule for requests with `Upgrade: websocket`, or a ProxyPass"
            " with upgrade=websocket instead of it."
        ),
        directive=(
            f'ProxyPass "{way.path}" "{member.scheme}://{address_of(member.upstream)}{member.path}"'
            " upgrade=websocket"
        ),
    )


def _not_passed(way: Way) -> Fault | None:
    if way.members or (way.rewritten is not None and (way.rewritten.redirect)):
        return None
    place = way.passed.directive if way.passed is not None else way.site
    turned = way.rewritten
    is_answered = turned is not None and turned.is_certain and (turned.is_file or turned.refusal)
    if place is None or is_answered:
        return None
    if way.passed is None and refusals.folder_rules(way) is not None:
        return None  # rules of a folder may pass it on, or those of an .htaccess file
    with_slash = next(
        (
            each
            for each in passes_of(way.config, way.site)
            if each.target and not each.is_regex and each.path == way.path + "/"
        ),
        None,
    )
    if way.passed is None and with_slash is not None:
        return fault(
            with_slash.directive,
            code="slash-mismatch",
            explains=_ELSEWHERE | _LOST,
            cause=(
                f"ProxyPass {with_slash.path} takes what is below {with_slash.path}, not"
                f" {way.path} itself: Apache looks for a file of that name."
            ),
            fix=(
                f"Write both without the slash at the end: ProxyPass {way.path}"
                f" {with_slash.target.rstrip('/')}."
            ),
            directive=f'ProxyPass "{way.path}" "{with_slash.target.rstrip("/")}" upgrade=websocket',
        )
    said = (
        f"ProxyPass {way.passed.path} ! keeps it from being passed on"
        if way.passed is not None
        else f"no ProxyPass of the site takes {way.path}"
    )
    return fault(
        place,
        code="wrong-route",
        explains=_ELSEWHERE | _LOST,
        cause=f"Apache answers {way.path} itself, with files: {said}.",
        fix="Add a ProxyPass for the path, before those that take more.",
        directive=f'ProxyPass "{way.path}" "http://127.0.0.1:PORT{way.path}" upgrade=websocket',
    )


#: Which module handles addresses that begin so.
_HANDLERS = {
    **dict.fromkeys(("http", "https", "ws", "wss"), "proxy_http"),
    **dict.fromkeys(("h2", "h2c"), "proxy_http2"),
    "balancer": "proxy_balancer",
    "ajp": "proxy_ajp",
}


def _no_handler(way: Way) -> Fault | None:
    """mod_proxy without the part that speaks to such a service: 500, and AH01144 in the log."""
    if not way.config.is_whole or not way.members:
        return None
    by = way.members[0].directive if way.passed is None else way.passed.directive
    schemes = [each.scheme for each in way.members]
    if way.passed is not None and way.passed.target.lower().startswith("balancer:"):
        schemes.append("balancer")
    for scheme in schemes:
        module = _HANDLERS.get(scheme, "")
        has_other = scheme in ("ws", "wss") and "proxy_wstunnel" in way.config.modules
        if module and module not in way.config.modules and not has_other:
            return fault(
                by,
                code="handshake-refused",
                explains=_LOST
                | {"handshake-refused", "wrong-route", "bad-gateway", "page-instead"},
                cause=(
                    f"mod_{module} is not loaded, so nothing in Apache handles {scheme}://"
                    " addresses: it answers 500 (AH01144 in its log)."
                ),
                fix=f"Load it (a2enmod {module}), and restart Apache.",
                directive=f"LoadModule {module}_module modules/mod_{module}.so",
            )
    return None


def _refused(way: Way) -> Fault | None:
    """Access rules of the last location that has any: everybody is refused, or must log in."""
    levels = [level.children for level in (way.site, *way.locations) if level is not None]
    rules = [
        [each for each in level if each.name == "require" and not each.is_section]
        for level in levels
    ]
    last = next((level for level in reversed(rules) if level), [])
    words = [[word.lower() for word in each.words] for each in last]
    if ["all", "denied"] in words:
        return fault(
            last[words.index(["all", "denied"])],
            code="wrong-route",
            explains=frozenset({"origin-blocked", "wrong-route", "login-required"}),
            cause=f"Require all denied: Apache refuses every request for {way.path} with 403.",
            fix="Let that rule spare the WebSocket's path.",
            directive="Require all granted",
        )
    login = next((each for each in last if each.words[:1] in (("valid-user",), ("user",))), None)
    if login is None:
        return None
    return fault(
        login,
        code="login-required",
        explains=frozenset({"login-required", "wrong-route"}),
        cause=(
            f"Require {' '.join(login.words)}: Apache wants a login for {way.path} and answers"
            " 401, which a page cannot give to a WebSocket."
        ),
        fix="Leave the WebSocket's path to the service's own login, or connect with credentials.",
    )


# --- the ProxyPass --------------------------------------------------------------------------------


def _shadowed(way: Way) -> Fault | None:
    """A later line is meant for the path, and the first that matches wins."""
    passed = way.passed
    if passed is None or passed.location is not None or passed.is_regex:
        return None
    is_past = False
    for each in passes_of(way.config, way.site):
        if each.directive is passed.directive:
            is_past = True
        elif is_past and len(each.path) > len(passed.path) and each.catches(way.path):
            return fault(
                passed.directive,
                code="proxypass-order",
                explains=_ELSEWHERE | _LOST | {"bad-gateway", "origin-blocked", "timeout"},
                cause=(
                    f"ProxyPass {passed.path} stands before ProxyPass {each.path}"
                    f" ({each.directive.where}); the first one that matches takes {way.path}."
                ),
                fix=f"Move ProxyPass {each.path} before ProxyPass {passed.path}.",
                directive=_text(each),
            )
    return None


def _shared_worker(way: Way) -> Fault | None:
    """An earlier line has made the worker already, and its options are what counts."""
    passed, worker = way.passed, way.worker
    if passed is None or worker is None or worker.made_by.directive is passed.directive:
        return None
    first = worker.made_by
    if not passed.upgrade or first.upgrade or _is_ws(first) or _is_ws(passed):
        return None
    return fault(
        passed.directive,
        code="proxypass-order",
        explains=_LOST,
        cause=(
            f"ProxyPass {first.path} {first.target} ({first.directive.where}) created the"
            f" connection pool for {first.target}; ProxyPass {passed.path} shares it, and its own"
            " upgrade= is silently ignored."
        ),
        fix=(
            f"Move ProxyPass {passed.path} before that line, or give that line upgrade=websocket"
            " too."
        ),
        directive=_text(passed),
    )


def _short_match(way: Way) -> Fault | None:
    """A ProxyPassMatch whose ``$1`` becomes shorter than itself gets no options."""
    passed = way.passed
    if passed is None or way.worker is not None or not is_looked_up(passed):
        return None
    if not passed.is_regex or not passed.upgrade or _is_ws(passed):
        return None
    return fault(
        passed.directive,
        code="upgrade-not-forwarded",
        explains=_LOST,
        cause=(
            f"Apache finds the options of a ProxyPassMatch by comparing addresses; what"
            f" {passed.target} becomes for {way.path} is shorter than that text, so upgrade= is"
            " dropped."
        ),
        fix="Use a ProxyPass without a pattern, or $0, which is long enough.",
        directive=f'ProxyPass "{way.path}" "{passed.target.partition("$")[0]}" upgrade=websocket',
    )


def _no_upgrade(way: Way) -> Fault | None:
    passed = way.passed
    if passed is None or not way.members or (way.upgrades and is_looked_up(passed)):
        return _odd_upgrade(way)
    if any(each.options.get("upgrade") or each.scheme in ("ws", "wss") for each in way.members):
        lacking = [
            each
            for each in way.members
            if not each.options.get("upgrade") and each.scheme not in ("ws", "wss")
        ]
        if not lacking:
            return _odd_upgrade(way)
        by = lacking[0].directive
        return fault(
            by,
            code="upgrade-not-forwarded",
            explains=_LOST,
            cause=f"{_quoted(by)} is without upgrade=websocket, which others of its balancer have.",
            fix="Give every BalancerMember upgrade=websocket.",
            directive=f"{_quoted(by)} upgrade=websocket",
        )
    by = way.members[0].directive
    version = way.state.version_numbers
    if version and version < _SINCE_UPGRADE:
        return fault(
            by,
            code="upgrade-not-forwarded",
            explains=_LOST,
            cause=(
                f"{_quoted(by)} passes {way.path} on as plain HTTP, and Apache"
                f" {way.state.version} has no upgrade= (2.4.47 has)."
            ),
            fix="Add a rule for `Upgrade: websocket` before it, with mod_proxy_wstunnel loaded.",
            directive=(
                "RewriteCond %{HTTP:Upgrade} =websocket [NC]\n"
                f'RewriteRule "^{way.path}"'
                f' "ws://{address_of(way.members[0].upstream)}{way.path}" [P,L]'
            ),
        )
    return fault(
        by,
        code="upgrade-not-forwarded",
        explains=_LOST,
        cause=(
            f"{_quoted(by)} has no upgrade=: Apache passes {way.path} on as an ordinary request,"
            " without Upgrade and Connection."
        ),
        fix="Add upgrade=websocket to that line.",
        directive=f"{_quoted(by)} upgrade=websocket",
    )


def _odd_upgrade(way: Way) -> Fault | None:
    for each in way.members:
        value = each.options.get("upgrade", "websocket")
        if value.lower() not in ("websocket", "any") and each.scheme not in ("ws", "wss"):
            return fault(
                each.directive,
                code="upgrade-not-forwarded",
                explains=_LOST,
                cause=f"upgrade={value} lets only `Upgrade: {value}` through.",
                fix="Write upgrade=websocket.",
                directive="upgrade=websocket",
            )
    return None


def _dropped_header(way: Way) -> Fault | None:
    """A rule for all requests that leaves the service without a header of the handshake."""
    sent = {"upgrade": "websocket"}  # of Connection, mod_proxy takes care itself
    for each in way.config.all_of("requestheader", way.site, *way.locations):
        if len(each.words) < 2 or each.words[1].lower() not in sent or is_conditional(each):
            continue
        value = sent[each.words[1].lower()]
        if edited(each, value).lower() != value.lower():
            return fault(
                each,
                code="upgrade-not-forwarded",
                explains=_LOST,
                cause=(
                    f"RequestHeader {' '.join(each.words)} takes {each.words[1]} from the"
                    " handshake."
                ),
                fix="Remove that line; Apache sets these headers itself.",
            )
    return None


def _old_protocol(way: Way) -> Fault | None:
    for each in way.config.all_of("setenv", way.site, *way.locations):
        if each.words[:1] == ("force-proxy-request-1.0",) and way.members:
            return fault(
                each,
                code="http-1.0-upstream",
                explains=_LOST | {"http-1.0-upstream", "wrong-route"},
                cause=(
                    "SetEnv force-proxy-request-1.0 makes Apache speak HTTP/1.0 to the service,"
                    " which has no upgrades."
                ),
                fix="Remove that line.",
            )
    return None


def _glued(way: Way) -> Fault | None:
    """A slash too many or too few between what is cut off and what is put in its place."""
    passed = way.passed
    if passed is None or passed.is_regex or not way.members:
        return None
    base, rest = way.members[0].path, passed.rest_of(way.path) or ""
    is_doubled = base.endswith("/") and rest.startswith("/")
    is_glued = bool(rest) and not base.endswith("/") and not rest.startswith("/")
    is_added = base != "/" and base.endswith("/") and not rest and not passed.path.endswith("/")
    if not (is_doubled or is_glued or is_added):
        return None
    both = passed.path.rstrip("/"), passed.target.rstrip("/")
    becomes = f"{way.members[0].upstream}{passed.path_at_service(way.path, base)}"
    is_port = is_glued and not base  # what is left of the path is taken for a part of the port
    return fault(
        passed.directive,
        code="slash-mismatch",
        explains=_ELSEWHERE | _LOST | {"slash-mismatch"} | ({"bad-gateway"} if is_port else set()),
        cause=(
            f"ProxyPass {passed.path} {passed.target}: one ends in a slash and the other does"
            f" not, so {way.path} becomes {becomes}."
        ),
        fix="Let both end in a slash, or neither.",
        directive=(
            f'ProxyPass "{both[0] or "/"}" "{both[1]}{"" if both[0] else "/"}" upgrade=websocket'
        ),
    )


def _other_path(way: Way) -> Fault | None:
    """The service is asked for another path than the client has named."""
    passed = way.passed
    if passed is None or passed.is_regex or not way.members:
        return None
    path = passed.path_at_service(way.path, way.members[0].path)
    if path == way.path:
        return None
    return fault(
        passed.directive,
        code="page-instead",
        explains=frozenset({"page-instead"}),
        cause=(
            f"ProxyPass {passed.path} {passed.target} asks the service for {path or '/'} instead"
            f" of {way.path}."
        ),
        fix="Let the part after the service's address be the path that the service has.",
        directive=(
            f'ProxyPass "{passed.path}" "{way.members[0].upstream}{passed.path}" upgrade=websocket'
        ),
        is_of_path=True,
    )


def _is_ws(made: Pass) -> bool:
    return made.target.lower().startswith(("ws:", "wss:"))


def _text(made: Pass) -> str:
    return _quoted(made.directive)


def _quoted(directive: Directive) -> str:
    names = {
        "proxypass": "ProxyPass",
        "proxypassmatch": "ProxyPassMatch",
        "balancermember": "BalancerMember",
    }
    words = " ".join(f'"{word}"' if "/" in word else word for word in directive.words)
    return f"{names.get(directive.name, directive.name)} {words}"


_RULES: tuple[Callable[[Way], Fault | None], ...] = (
    _other_site,
    _redirecting_rule,
    _redirecting_alias,
    _no_handler,
    _refused,
    _recipe_that_misses,
    _rule_without_upgrade,
    _shadowed,
    _not_passed,
    _old_protocol,
    _dropped_header,
    _shared_worker,
    _short_match,
    _no_upgrade,
    _glued,
    _other_path,
)
