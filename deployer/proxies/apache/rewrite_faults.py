"""Faults of rewrite rules: requests that they refuse, or turn into a different request."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.proxies.apache.path import Trace
from deployer.proxies.apache.rewrite import Rewritten, rules_of
from deployer.proxies.apache.tree import Directive
from deployer.proxies.apache.virtual_hosts import address_of, catches_path
from deployer.proxies.inspect.model import Fault, fault

_REFUSED = frozenset({"origin-blocked", "wrong-route", "handshake-refused", "page-instead"})
_ELSEWHERE = frozenset({"page-instead", "wrong-route", "slash-mismatch"})
_SERVER = ("http:", "https:", "ws:", "wss:")


def quoted(rule: Directive, name: str = "RewriteRule") -> str:
    """A rule as it is written in the file."""
    return f"{name} {' '.join(rule.words)}"


def by_rules(trace: Trace) -> Iterator[Fault]:
    """The effect of the rule that decides: a refusal, a local file, a different path."""
    turned = trace.rewritten
    if turned is None:
        yield from _engine_off(trace)
    elif turned.refusal:
        yield fault(
            turned.rule,
            code="wrong-route",
            explains=_REFUSED,
            cause=(
                f"{quoted(turned.rule)} answers {trace.path} with {turned.refusal}"
                + ("." if turned.is_certain else ", if its conditions match the client.")
            ),
            fix="Exclude the WebSocket's path from that rule with a RewriteCond on %{REQUEST_URI}.",
            statuses=frozenset({turned.refusal}),
        )
    elif turned.is_file:
        yield fault(
            turned.rule,
            code="page-instead",
            explains=_ELSEWHERE,
            cause=(
                f"{quoted(turned.rule)} turns {trace.path} into {turned.target}, which Apache then"
                " looks up as a file: no ProxyPass sees the request."
            ),
            fix="Exclude the WebSocket's path from that rule with a RewriteCond on %{REQUEST_URI}.",
            directive=f"RewriteCond %{{REQUEST_URI}} !^{trace.path}",
        )
    elif turned.is_proxied and trace.members:
        yield from _other_path(trace, turned)
    elif turned.is_certain and turned.target.startswith("/") and not trace.members:
        yield fault(
            turned.rule,
            code="page-instead",
            explains=_ELSEWHERE,
            cause=(
                f"{quoted(turned.rule)} turns {trace.path} into {turned.target}, which no ProxyPass"
                " matches."
            ),
            fix="Exclude the WebSocket's path from that rule with a RewriteCond on %{REQUEST_URI}.",
            directive=f"RewriteCond %{{REQUEST_URI}} !^{trace.path}",
        )


def _other_path(trace: Trace, turned: Rewritten) -> Iterator[Fault]:
    path = trace.members[0].path.partition("?")[0] or "/"
    if path == trace.path:
        return
    doubled = "//" in path and "//" not in trace.path
    yield fault(
        turned.rule,
        code="slash-mismatch" if doubled else "page-instead",
        explains=frozenset({"page-instead", "slash-mismatch"} if doubled else {"page-instead"}),
        cause=f"{quoted(turned.rule)} asks the service for {path} instead of {trace.path}.",
        fix="Use what the pattern captured in the address, with one slash before it.",
        directive=(
            f'RewriteRule "^/?(.*)" "{trace.members[0].scheme}://'
            f'{address_of(trace.members[0].upstream)}/$1" [P,L]'
        ),
        is_of_path=True,
    )


def _engine_off(trace: Trace) -> Iterator[Fault]:
    """Rules for WebSockets in a site without RewriteEngine on, which is not inherited."""
    rules = trace.site.children if trace.site is not None else []
    if any(each.name == "rewriteengine" for each in rules):
        return
    for each in rules:
        words = each.words
        if each.name == "rewriterule" and len(words) > 1 and words[1].lower().startswith("ws"):
            yield fault(
                each,
                code="upgrade-not-forwarded",
                explains=frozenset({"upgrade-not-forwarded"}),
                cause=f"{quoted(each)} has no effect: its site has no RewriteEngine on.",
                fix="Write RewriteEngine on before it, in the same VirtualHost.",
                directive="RewriteEngine on",
            )
            return


def folder_rules(trace: Trace) -> Directive | None:
    """A rule of a ``<Directory>`` that is meant for WebSockets, or for this path.

    ``.htaccess`` files are not read here: if they are allowed, the line that allows them.
    """
    allowed = None
    for section in _folders(trace):
        for rule in rules_of(section.children):
            is_meant = rule.target.lower().startswith(_SERVER) and "p" in rule.flags
            if is_meant or rule.target.lower().startswith(("ws:", "wss:")):
                return rule.directive
        for each in section.children:
            if each.name == "allowoverride" and each.words[:1] not in ((), ("None",), ("none",)):
                allowed = each
    return allowed


def _folders(trace: Trace) -> Iterator[Directive]:
    root = trace.setting("documentroot")
    folder = root.words[0].rstrip("/") if root is not None and root.words else ""
    groups = (trace.config.directives, trace.site.children if trace.site is not None else ())
    for group in groups:
        for each in group:
            if each.is_section and each.name == "directory" and each.words and folder:
                name = each.words[-1].rstrip("/")
                if folder == name or folder.startswith(f"{name}/") or not name:
                    yield each


def in_folders(trace: Trace) -> Iterator[Fault]:
    """A rule of a folder whose pattern starts with a slash, which no path has there."""
    by = folder_rules(trace)
    if by is None or by.name != "rewriterule" or trace.members:
        return
    pattern = by.words[0]
    if not pattern.startswith(("^/", "/")) or pattern.startswith(("^/?", "/?")):
        return
    if catches_path(pattern, trace.path, is_regex=True):
        bare = f"^{pattern.lstrip('^').removeprefix('/')}"
        yield fault(
            by,
            code="wrong-route",
            explains=_ELSEWHERE | {"upgrade-not-forwarded", "handshake-refused"},
            cause=(
                f"{quoted(by)} is in a <Directory>, where paths have no leading slash: it never"
                " applies."
            ),
            fix="Write the pattern without that slash, or move the rule out of <Directory>.",
            directive=f"RewriteRule {' '.join((bare, *by.words[1:]))}",
        )
