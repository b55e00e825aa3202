"""The effect of mod_rewrite on a WebSocket request: the rules of a server, in order.

Conditions are evaluated with the known variables of such a request. One that uses anything else is
neither true nor false, and the result is uncertain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from deployer.proxies.apache.tree import Directive
from deployer.text.numbers import is_number

_VARIABLE = re.compile(r"%\{([\w:-]+)\}")
_ADDRESS = re.compile(r"(?:https?|wss?|ftp|fcgi)://", re.IGNORECASE)
_TURNS = re.compile(r"\$(\d)|%(\d)|%\{([\w:-]+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """The result of a rule for a request: `target` is an address, a path or ``-``."""

    rule: Directive
    target: str
    flags: frozenset[str]
    is_certain: bool

    @property
    def is_proxied(self) -> bool:
        """Whether the rule passes the request to mod_proxy."""
        return "p" in self.flags

    @property
    def redirect(self) -> bool:
        """Whether the client is redirected; an address without [P] does so too."""
        if any(flag == "r" or flag.startswith(("r=3", "redirect")) for flag in self.flags):
            return True
        return not self.is_proxied and _ADDRESS.match(self.target) is not None

    @property
    def refusal(self) -> int:
        """The status with which the rule ends the request; 0 if it does not."""
        for flag in self.flags:
            if flag in ("f", "forbidden", "g", "gone"):
                return 403 if flag.startswith("f") else 410
            number = flag.removeprefix("r=")
            if number != flag and is_number(number) and not 300 <= int(number) < 400:
                return int(number)
        return 0

    @property
    def is_file(self) -> bool:
        """Whether it maps the request to a local file, which no ProxyPass sees."""
        is_other = self.target != "-" and not (self.is_proxied or self.redirect or self.refusal)
        return is_other and not self.flags & {"pt", "passthrough"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A RewriteRule with the conditions above it."""

    directive: Directive
    conditions: tuple[Directive, ...]

    @property
    def pattern(self) -> str:
        return self.directive.words[0]

    @property
    def target(self) -> str:
        return self.directive.words[1]

    @property
    def flags(self) -> frozenset[str]:
        return flags_of(self.directive.words[2:])


def request_variables(
    *, name: str, port: int, path: str, tls: bool, upgrade: str = "websocket"
) -> dict[str, str]:
    """The variables of a WebSocket request with only the headers that every client sends."""
    path, _, query = path.partition("?")
    scheme = "https" if tls else "http"
    return {
        "HTTP:UPGRADE": upgrade,
        "HTTP:CONNECTION": "Upgrade" if upgrade else "",
        "HTTP:SEC-WEBSOCKET-VERSION": "13" if upgrade else "",
        "HTTP_HOST": name,
        "HTTP:HOST": name,
        "SERVER_NAME": name,
        "SERVER_PORT": str(port),
        "HTTPS": "on" if tls else "off",
        "REQUEST_SCHEME": scheme,
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": path,
        "QUERY_STRING": query,
        "THE_REQUEST": f"GET {path}{'?' + query if query else ''} HTTP/1.1",
        "HTTP:X-FORWARDED-PROTO": "",
        # These variables do not exist, so they are empty; the headers are %{HTTP:Upgrade} and so
        # on.
        "HTTP_UPGRADE": "",
        "HTTP_CONNECTION": "",
        # Browsers send no Referer with a handshake.
        "HTTP_REFERER": "",
        "HTTP:REFERER": "",
    }


def rules_of(directives: list[Directive] | tuple[Directive, ...]) -> Iterator[Rule]:
    """The rules of a server or site, if its engine is on."""
    conditions: list[Directive] = []
    is_on = any(
        each.name == "rewriteengine" and each.words[:1] and each.words[0].lower() == "on"
        for each in directives
    )
    for each in directives if is_on else ():
        if each.name == "rewritecond" and len(each.words) > 1:
            conditions.append(each)
        elif each.name == "rewriterule" and len(each.words) > 1:
            yield Rule(directive=each, conditions=tuple(conditions))
            conditions = []


def rewritten(
    directives: list[Directive] | tuple[Directive, ...], variables: Mapping[str, str]
) -> Rewritten | None:
    """The result of the first rule that decides; `None` if none changes the request."""
    path, certain, found = variables["REQUEST_URI"], True, None
    rules = tuple(rules_of(directives))
    set_by_rules = {name: "" for rule in rules for name, _ in environment_of(rule)}
    variables = {**variables, **set_by_rules}
    for rule in rules:
        outcome, groups = matches(rule, {**variables, "REQUEST_URI": path})
        if outcome is False:
            continue
        if outcome:
            variables = {**variables, **dict(environment_of(rule))}
        certain = certain and outcome is True
        target = _filled(rule.target, groups, {**variables, "REQUEST_URI": path})
        made = Rewritten(rule=rule.directive, target=target, flags=rule.flags, is_certain=certain)
        if rule.target != "-":
            path = target.partition("?")[0]
            found = made
        if made.refusal or (made.redirect and rule.target == "-"):
            return made
        if made.is_proxied or made.redirect or rule.flags & {"l", "end", "last"}:
            return found
    return found


def environment_of(rule: Rule) -> Iterator[tuple[str, str]]:
    """The variables that a rule sets, by the names under which conditions know them."""
    for flag in rule.flags:
        if flag.startswith(("e=", "env=")):
            name, _, value = flag.partition("=")[2].partition(":")
            yield f"ENV:{name.upper()}", value


def matches(rule: Rule, variables: Mapping[str, str]) -> tuple[bool | None, dict[str, str]]:
    """Whether a rule applies (`None` for unknown), and what its groups captured."""
    found = _search(rule.pattern, variables["REQUEST_URI"], is_nocase="nc" in rule.flags)
    if found is False or found is None:
        return found, {}
    groups = {f"${number}": text for number, text in enumerate(found)}
    met: bool | None = True
    pending: bool | None = False
    for condition in rule.conditions:
        answer, caught = holds(condition, variables)
        groups.update({f"%{number}": text for number, text in enumerate(caught)})
        either = True if answer or pending else None if None in (answer, pending) else False
        if flags_of(condition.words[2:]) & {"or", "ornext"}:
            pending = either
            continue
        pending = False
        if either is False:
            return False, {}
        met = None if either is None else met
    return met, groups


def holds(condition: Directive, variables: Mapping[str, str]) -> tuple[bool | None, list[str]]:
    """Whether a RewriteCond is true (`None` for unknown), and what it captured."""
    names = _VARIABLE.findall(condition.words[0])
    if any(name.upper() not in variables for name in names) or "$" in condition.words[0]:
        return None, []
    text = _VARIABLE.sub(lambda found: variables[found[1].upper()], condition.words[0])
    if text.startswith("%"):
        return None, []
    pattern = condition.words[1]
    is_negated, pattern = pattern.startswith("!"), pattern.removeprefix("!")
    is_nocase = bool(flags_of(condition.words[2:]) & {"nc", "nocase"})
    if pattern.startswith("="):
        wanted = pattern[1:]
        same = text.lower() == wanted.lower() if is_nocase else text == wanted
        return same is not is_negated, [text]
    if pattern.startswith(("-", "<", ">")):
        return None, []
    found = _search(pattern, text, is_nocase=is_nocase)
    if found is None:
        return None, []
    return (found is not False) is not is_negated, found or []


def flags_of(words: tuple[str, ...]) -> frozenset[str]:
    """``[P,L,NC]`` as a set, in lower case."""
    text = words[0].strip("[]") if words else ""
    return frozenset(flag.strip().lower() for flag in text.split(",") if flag.strip())


def _search(pattern: str, text: str, *, is_nocase: bool) -> list[str] | Literal[False] | None:
    is_negated, pattern = pattern.startswith("!"), pattern.removeprefix("!")
    try:
        found = re.search(pattern, text, re.IGNORECASE if is_nocase else 0)
    except re.error:
        return None
    if is_negated:
        return [""] if found is None else False
    if found is None:
        return False
    return [found.group(0), *(group or "" for group in found.groups())]


def _filled(target: str, groups: Mapping[str, str], variables: Mapping[str, str]) -> str:
    def turned(found: re.Match[str]) -> str:
        if found[3]:
            return variables.get(found[3].upper(), "")
        return groups.get(found[0], "")

    return _TURNS.sub(turned, target)
