"""Faults on a request's path through Apache, one function each, the most certain first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from deployer.proxies.apache import access, pointers, proxy_pass, rewrite_faults
from deployer.proxies.apache.config import config_of
from deployer.proxies.apache.rewrite import flags_of, holds, request_variables, rules_of
from deployer.proxies.apache.virtual_hosts import address_of, catches_path, passes_of
from deployer.proxies.inspect.model import Fault, ProxyState, fault

if TYPE_CHECKING:
    from deployer.proxies.apache.path import Trace

_LOST = frozenset({"upgrade-not-forwarded"})
_ELSEWHERE = frozenset({"wrong-route", "page-instead", "slash-redirect", "redirected"})
_SINCE_UPGRADE = (2, 4, 47)


def faults_of(trace: Trace) -> tuple[Fault, ...]:
    """The faults on the path of one request, the most certain first."""
    found = [fault for rule in access.RULES for fault in rule(trace)]
    for rule in _RULES:
        fault = rule(trace)
        if fault is not None:
            found.append(fault)
    return (*found, *pointers.faults_of(trace))


def of_no_port(state: ProxyState, port: int) -> tuple[Fault, ...]:
    """The fault that no Listen line has the port of the request."""
    lines = [each for each in config_of(state).all_of("listen") if each.words]
    if not lines:
        return ()
    addresses = ", ".join(each.words[0] for each in lines)
    return (
        fault(
            lines[-1],
            code="proxy-down",
            explains=frozenset({"proxy-down", "tls-not-spoken"}),
            cause=f"No Listen line in Apache's files has port {port}; they have {addresses}.",
            fix=f"Add Listen {port}, and restart Apache.",
            directive=f"Listen {port}",
        ),
    )


# --- which site, which rule -----------------------------------------------------------------------


def _other_site(trace: Trace) -> Fault | None:
    if trace.is_named or trace.site is None:
        return None
    return fault(
        trace.site,
        code="wrong-route",
        explains=_ELSEWHERE | _LOST | {"tls-wrong-name", "bad-gateway"},
        cause=(
            f"No VirtualHost on port {trace.port} has the name {trace.name}, so the first one on"
            " that"
            f" port answers ({trace.site.where})."
        ),
        fix=f"Add ServerName or ServerAlias {trace.name} to the intended site.",
        directive=f"ServerAlias {trace.name}",
    )


def _redirecting_rule(trace: Trace) -> Fault | None:
    turned = trace.rewritten
    if turned is None or not turned.redirect:
        return None
    rule = f"RewriteRule {' '.join(turned.rule.words)}"
    to_https = turned.target.lower().startswith("https:")
    if to_https and not trace.tls:
        return fault(
            turned.rule,
            code="https-redirect",
            explains=frozenset({"https-redirect", "redirected"}),
            cause=(
                f"{rule} redirects everything on port {trace.port} to HTTPS; WebSocket clients do"
                " not follow redirects."
            ),
            fix="Connect to wss://, which the other site serves; this site is correct.",
        )
    loops = to_https and trace.tls
    return fault(
        turned.rule,
        code="redirect-loop" if loops else "redirected",
        explains=frozenset({"redirect-loop", "redirected"} if loops else _ELSEWHERE),
        cause=f"{rule} redirects {trace.path} to {turned.target}.",
        fix="Exclude the WebSocket's path from that rule with a RewriteCond on %{REQUEST_URI}.",
    )


def _redirecting_alias(trace: Trace) -> Fault | None:
    if trace.passed is not None or trace.members or trace.site is None:
        return None
    for each in trace.site.children:
        if each.name in ("redirect", "redirectmatch", "redirectpermanent", "redirecttemp"):
            words = [word for word in each.words if not word.isalnum()]
            by_pattern = each.name == "redirectmatch"
            catches = words[:1] and catches_path(words[0], trace.path, is_regex=by_pattern)
            if catches and len(words) > 1:
                https = words[1].lower().startswith("https:") and not trace.tls
                code = "https-redirect" if https else "redirected"
                return fault(
                    each,
                    code=code,
                    explains=frozenset({code, "redirected"}),
                    cause=(
                        f"Redirect {' '.join(each.words)} answers {trace.path} on port"
                        f" {trace.port}; WebSocket clients do not follow redirects."
                    ),
                    fix=(
                        "Connect to wss://, which the other site serves."
                        if https
                        else "Exclude the WebSocket's path from that redirect."
                    ),
                )
    return None


def _recipe_that_misses(trace: Trace) -> Fault | None:
    """A rewrite rule for WebSockets that does not match them because of a condition."""
    site = trace.site.children if trace.site is not None else trace.config.directives
    if trace.rewritten is not None and trace.rewritten.is_proxied:
        return None
    asked = request_variables(name=trace.name, port=trace.port, path=trace.path, tls=trace.tls)
    for rule in rules_of(site):
        is_meant = rule.target.lower().startswith(("ws:", "wss:")) and "p" in rule.flags
        is_meant = is_meant and catches_path(rule.pattern, trace.path, is_regex=True)
        for condition in rule.conditions if is_meant else ():
            answer, _ = holds(condition, asked)
            if answer is False and "upgrade" in condition.words[0].lower():
                nocase = flags_of(condition.words[2:]) & {"nc", "nocase"}
                why = "" if nocase else ", and without [NC] it is case-sensitive"
                return fault(
                    condition,
                    code="upgrade-not-forwarded",
                    explains=_LOST,
                    cause=(
                        f"RewriteCond {' '.join(condition.words)} does not match WebSocket"
                        " clients, which send `Upgrade: websocket` and `Connection: Upgrade`"
                        f"{why}: the rule below it never applies."
                    ),
                    fix=(
                        "Add [NC] to the condition, or use upgrade=websocket in the ProxyPass"
                        " instead of these rules."
                    ),
                    directive="RewriteCond %{HTTP:Upgrade} =websocket [NC]",
                )
    return None


def _rule_without_upgrade(trace: Trace) -> Fault | None:
    turned = trace.rewritten
    if turned is None or not turned.is_proxied or not trace.members:
        return None
    member = trace.members[0]
    if trace.upgrades:
        return None
    scheme = "wss" if member.upstream.tls else "ws"
    return fault(
        turned.rule,
        code="upgrade-not-forwarded",
        explains=_LOST,
        cause=(
            f"RewriteRule … {turned.rule.words[1]} [P] forwards {trace.path} as an ordinary"
            " request: the service sees no Upgrade header."
        ),
        fix=(
            f"Write {scheme}:// in that rule for requests with `Upgrade: websocket`, or replace it"
            " with a ProxyPass with upgrade=websocket."
        ),
        directive=(
            f'ProxyPass "{trace.path}" "{member.scheme}://{address_of(member.upstream)}{member.path}"'
            " upgrade=websocket"
        ),
    )


def _not_passed(trace: Trace) -> Fault | None:
    if trace.members or (trace.rewritten is not None and (trace.rewritten.redirect)):
        return None
    place = trace.passed.directive if trace.passed is not None else trace.site
    turned = trace.rewritten
    is_answered = turned is not None and turned.is_certain and (turned.is_file or turned.refusal)
    if place is None or is_answered:
        return None
    if trace.passed is None and rewrite_faults.folder_rules(trace) is not None:
        return None  # rules of a folder or an .htaccess file may forward it
    with_slash = next(
        (
            each
            for each in passes_of(trace.config, trace.site)
            if each.target and not each.is_regex and each.path == trace.path + "/"
        ),
        None,
    )
    if trace.passed is None and with_slash is not None:
        return fault(
            with_slash.directive,
            code="slash-mismatch",
            explains=_ELSEWHERE | _LOST,
            cause=(
                f"ProxyPass {with_slash.path} matches what is below {with_slash.path}, not"
                f" {trace.path} itself: Apache looks for a file of that name."
            ),
            fix=(
                f"Write both without the trailing slash: ProxyPass {trace.path}"
                f" {with_slash.target.rstrip('/')}."
            ),
            directive=f'ProxyPass "{trace.path}" "{with_slash.target.rstrip("/")}"'
            " upgrade=websocket",
        )
    said = (
        f"ProxyPass {trace.passed.path} ! excludes it"
        if trace.passed is not None
        else f"no ProxyPass of the site matches {trace.path}"
    )
    return fault(
        place,
        code="wrong-route",
        explains=_ELSEWHERE | _LOST,
        cause=f"Apache serves {trace.path} from files: {said}.",
        fix="Add a ProxyPass for the path, before those of shorter paths.",
        directive=f'ProxyPass "{trace.path}" "http://127.0.0.1:PORT{trace.path}" upgrade=websocket',
    )


#: The module that handles the addresses of a scheme.
_HANDLERS = {
    **dict.fromkeys(("http", "https", "ws", "wss"), "proxy_http"),
    **dict.fromkeys(("h2", "h2c"), "proxy_http2"),
    "balancer": "proxy_balancer",
    "ajp": "proxy_ajp",
}


def _no_handler(trace: Trace) -> Fault | None:
    """mod_proxy without the module for the service's scheme: 500, and AH01144 in the log."""
    if not trace.config.is_whole or not trace.members:
        return None
    by = trace.members[0].directive if trace.passed is None else trace.passed.directive
    schemes = [each.scheme for each in trace.members]
    if trace.passed is not None and trace.passed.target.lower().startswith("balancer:"):
        schemes.append("balancer")
    for scheme in schemes:
        module = _HANDLERS.get(scheme, "")
        has_other = scheme in ("ws", "wss") and "proxy_wstunnel" in trace.config.modules
        if module and module not in trace.config.modules and not has_other:
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


def _refused(trace: Trace) -> Fault | None:
    """Access rules of the last location that has any: everyone is refused, or must log in."""
    levels = [level.children for level in (trace.site, *trace.locations) if level is not None]
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
            cause=f"Require all denied: Apache refuses every request for {trace.path} with 403.",
            fix="Exclude the WebSocket's path from that rule.",
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
            f"Require {' '.join(login.words)}: Apache requires a login for {trace.path} and"
            " answers 401; a page cannot send credentials with a WebSocket."
        ),
        fix="Exclude the WebSocket's path and let the service authenticate, or connect with"
        " credentials.",
    )


_RULES: tuple[Callable[[Trace], Fault | None], ...] = (
    _other_site,
    _redirecting_rule,
    _redirecting_alias,
    _no_handler,
    _refused,
    _recipe_that_misses,
    _rule_without_upgrade,
    proxy_pass.shadowed,
    _not_passed,
    proxy_pass.old_protocol,
    proxy_pass.dropped_header,
    proxy_pass.shared_worker,
    proxy_pass.short_match,
    proxy_pass.no_upgrade,
    proxy_pass.glued,
    proxy_pass.other_path,
)
