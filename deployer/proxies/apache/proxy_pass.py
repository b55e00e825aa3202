"""Faults of the ProxyPass that a request matches: its options, its worker, its paths."""

from __future__ import annotations

from deployer.proxies.apache.headers import edited, is_conditional
from deployer.proxies.apache.path import Trace
from deployer.proxies.apache.tree import Directive
from deployer.proxies.apache.virtual_hosts import Pass, address_of, passes_of
from deployer.proxies.apache.workers import is_looked_up
from deployer.proxies.inspect.model import Fault, fault

_LOST = frozenset({"upgrade-not-forwarded"})
_ELSEWHERE = frozenset({"wrong-route", "page-instead", "slash-redirect", "redirected"})
_SINCE_UPGRADE = (2, 4, 47)


def shadowed(trace: Trace) -> Fault | None:
    """A later line is meant for the path, but the first match wins."""
    passed = trace.passed
    if passed is None or passed.location is not None or passed.is_regex:
        return None
    is_past = False
    for each in passes_of(trace.config, trace.site):
        if each.directive is passed.directive:
            is_past = True
        elif is_past and len(each.path) > len(passed.path) and each.catches(trace.path):
            return fault(
                passed.directive,
                code="proxypass-order",
                explains=_ELSEWHERE | _LOST | {"bad-gateway", "origin-blocked", "timeout"},
                cause=(
                    f"ProxyPass {passed.path} comes before ProxyPass {each.path}"
                    f" ({each.directive.where}); the first one that matches handles {trace.path}."
                ),
                fix=f"Move ProxyPass {each.path} before ProxyPass {passed.path}.",
                directive=_text(each),
            )
    return None


def shared_worker(trace: Trace) -> Fault | None:
    """An earlier line created the worker, and its options apply."""
    passed, worker = trace.passed, trace.worker
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


def short_match(trace: Trace) -> Fault | None:
    """A ProxyPassMatch whose ``$1`` is replaced by less than two characters gets no options."""
    passed = trace.passed
    if passed is None or trace.worker is not None or not is_looked_up(passed):
        return None
    if not passed.is_regex or not passed.upgrade or _is_ws(passed):
        return None
    return fault(
        passed.directive,
        code="upgrade-not-forwarded",
        explains=_LOST,
        cause=(
            f"Apache finds the options of a ProxyPassMatch by comparing addresses; the address that"
            f" {passed.target} becomes for {trace.path} is shorter than that text, so upgrade= is"
            " ignored."
        ),
        fix="Use a ProxyPass without a pattern, or $0, which is long enough.",
        directive=f'ProxyPass "{trace.path}" "{passed.target.partition("$")[0]}" upgrade=websocket',
    )


def no_upgrade(trace: Trace) -> Fault | None:
    passed = trace.passed
    if passed is None or not trace.members or (trace.upgrades and is_looked_up(passed)):
        return _odd_upgrade(trace)
    if any(each.options.get("upgrade") or each.scheme in ("ws", "wss") for each in trace.members):
        lacking = [
            each
            for each in trace.members
            if not each.options.get("upgrade") and each.scheme not in ("ws", "wss")
        ]
        if not lacking:
            return _odd_upgrade(trace)
        by = lacking[0].directive
        return fault(
            by,
            code="upgrade-not-forwarded",
            explains=_LOST,
            cause=f"{_quoted(by)} has no upgrade=websocket, unlike other members of its balancer.",
            fix="Add upgrade=websocket to every BalancerMember.",
            directive=f"{_quoted(by)} upgrade=websocket",
        )
    by = trace.members[0].directive
    version = trace.state.version_numbers
    if version and version < _SINCE_UPGRADE:
        return fault(
            by,
            code="upgrade-not-forwarded",
            explains=_LOST,
            cause=(
                f"{_quoted(by)} forwards {trace.path} as plain HTTP, and Apache"
                f" {trace.state.version} has no upgrade= (2.4.47 and newer have)."
            ),
            fix="Add a rule for `Upgrade: websocket` before it, with mod_proxy_wstunnel loaded.",
            directive=(
                "RewriteCond %{HTTP:Upgrade} =websocket [NC]\n"
                f'RewriteRule "^{trace.path}"'
                f' "ws://{address_of(trace.members[0].upstream)}{trace.path}" [P,L]'
            ),
        )
    return fault(
        by,
        code="upgrade-not-forwarded",
        explains=_LOST,
        cause=(
            f"{_quoted(by)} has no upgrade=: Apache forwards {trace.path} as an ordinary request,"
            " without Upgrade and Connection."
        ),
        fix="Add upgrade=websocket to that line.",
        directive=f"{_quoted(by)} upgrade=websocket",
    )


def _odd_upgrade(trace: Trace) -> Fault | None:
    for each in trace.members:
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


def dropped_header(trace: Trace) -> Fault | None:
    """A rule for all requests that removes a header of the handshake."""
    sent = {"upgrade": "websocket"}  # mod_proxy sets Connection itself
    for each in trace.config.all_of("requestheader", trace.site, *trace.locations):
        if len(each.words) < 2 or each.words[1].lower() not in sent or is_conditional(each):
            continue
        value = sent[each.words[1].lower()]
        if edited(each, value).lower() != value.lower():
            return fault(
                each,
                code="upgrade-not-forwarded",
                explains=_LOST,
                cause=(
                    f"RequestHeader {' '.join(each.words)} removes {each.words[1]} from the"
                    " handshake."
                ),
                fix="Remove that line; Apache sets these headers itself.",
            )
    return None


def old_protocol(trace: Trace) -> Fault | None:
    for each in trace.config.all_of("setenv", trace.site, *trace.locations):
        if each.words[:1] == ("force-proxy-request-1.0",) and trace.members:
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


def glued(trace: Trace) -> Fault | None:
    """A slash too many or too few between the removed prefix and its replacement."""
    passed = trace.passed
    if passed is None or passed.is_regex or not trace.members:
        return None
    base, rest = trace.members[0].path, passed.rest_of(trace.path) or ""
    is_doubled = base.endswith("/") and rest.startswith("/")
    is_glued = bool(rest) and not base.endswith("/") and not rest.startswith("/")
    is_added = base != "/" and base.endswith("/") and not rest and not passed.path.endswith("/")
    if not (is_doubled or is_glued or is_added):
        return None
    both = passed.path.rstrip("/"), passed.target.rstrip("/")
    becomes = f"{trace.members[0].upstream}{passed.path_at_service(trace.path, base)}"
    is_port = is_glued and not base  # the rest of the path is read as part of the port
    return fault(
        passed.directive,
        code="slash-mismatch",
        explains=_ELSEWHERE | _LOST | {"slash-mismatch"} | ({"bad-gateway"} if is_port else set()),
        cause=(
            f"ProxyPass {passed.path} {passed.target}: one ends with a slash and the other does"
            f" not, so {trace.path} becomes {becomes}."
        ),
        fix="End both with a slash, or neither.",
        directive=(
            f'ProxyPass "{both[0] or "/"}" "{both[1]}{"" if both[0] else "/"}" upgrade=websocket'
        ),
    )


def other_path(trace: Trace) -> Fault | None:
    """The service is asked for a different path than the client's."""
    passed = trace.passed
    if passed is None or passed.is_regex or not trace.members:
        return None
    path = passed.path_at_service(trace.path, trace.members[0].path)
    if path == trace.path:
        return None
    return fault(
        passed.directive,
        code="page-instead",
        explains=frozenset({"page-instead"}),
        cause=(
            f"ProxyPass {passed.path} {passed.target} asks the service for {path or '/'} instead"
            f" of {trace.path}."
        ),
        fix="Write the service's own path after its address.",
        directive=(
            f'ProxyPass "{passed.path}" "{trace.members[0].upstream}{passed.path}"'
            " upgrade=websocket"
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
