"""Rules of HAProxy that send a WebSocket to the wrong backend, or that may refuse it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from deployer.proxies.haproxy.config import Section
from deployer.proxies.haproxy.path import Trace, bind_of, binds_of, holds, split
from deployer.proxies.haproxy.pointers import with_conditions
from deployer.proxies.haproxy.samples import UNKNOWN
from deployer.proxies.inspect.model import Directive, Fault, fault

#: The symptoms of a request that reaches the wrong service.
_OF_ANOTHER = frozenset(
    {
        *("page-instead", "wrong-route", "backend-not-websocket", "handshake-refused"),
        *("slash-redirect", "redirected", "origin-blocked", "login-required"),
    }
)
_OF_WEBSOCKETS = re.compile(r"upgrade|websocket|sec-websocket", re.IGNORECASE)
_PATH = re.compile(r"\b(?:path|url)(?:_\w+)?\b")


def astray(trace: Trace) -> Iterator[Fault]:
    """The first use_backend that is meant for the path but does not match it."""
    if trace.end is not None or trace.backend is None:
        return
    is_past = False
    for each in trace.frontend.own("use_backend"):
        if each is trace.chosen_by:
            is_past = True
            continue
        _, rest, condition = split(each.words)
        answer = holds(condition, trace.frontend, trace.request).answer
        if is_past and answer is True and _is_for(trace, condition):
            yield _late(trace, each)
            return
        if answer is False and rest and rest[0] != trace.backend.name:
            missed = _missed(trace, each, condition)
            if missed is not None:
                yield missed
                return


def shared_port(trace: Trace) -> Iterator[Fault]:
    """Two frontends at one address: the kernel distributes connections between them."""
    mine = {text for _, text in binds_of(trace.frontend) if text.endswith(f":{trace.request.port}")}
    for other in trace.config.of_kind("frontend", "listen"):
        for by, text in binds_of(other) if other is not trace.frontend else ():
            if text in mine:
                yield fault(
                    by,
                    code="wrong-route",
                    explains=_OF_ANOTHER,
                    cause=(
                        f"{other.kind} {other.name} and {trace.frontend.kind} {trace.frontend.name}"
                        f" ({trace.frontend.where}) both have `bind {text}`: the kernel gives"
                        " each connection to one of them at random."
                    ),
                    fix="Merge the two into one frontend with use_backend rules.",
                    is_astray=True,
                    stands_alone=True,
                )
                return


def _late(trace: Trace, rule: Directive) -> Fault:
    return fault(
        trace.chosen_by,
        code="wrong-route",
        explains=_OF_ANOTHER,
        cause=(
            f"`{trace.chosen_by}` comes before `{rule}` ({rule.where}); the first one that matches"
            f" handles {trace.asked}."
        ),
        fix=f"Move `{rule}` before that line.",
        directive=str(rule),
        is_astray=True,
    )


def _is_for(trace: Trace, condition: Sequence[str]) -> bool:
    """Whether a rule is about WebSockets, or about this path."""
    return any(
        _is_about(trace, test) for _, tests in _terms(trace.frontend, condition) for test in tests
    )


def _is_about(trace: Trace, test: Directive | Sequence[str]) -> bool:
    words = test.words[2:] if isinstance(test, Directive) else test
    if _OF_WEBSOCKETS.search(" ".join(words)):
        return True
    return bool(words) and bool(_PATH.match(words[0])) and bool(_close(trace, words[1:]))


def _close(trace: Trace, words: Sequence[str]) -> str:
    """The pattern that equals this path except for slashes; empty if there is none."""
    bare = trace.asked.strip("/").lower()
    for word in words:
        pattern = word.strip("/^$").lower()
        if pattern and (bare == pattern or bare.startswith(f"{pattern}/")):
            return word
    return ""


def _missed(trace: Trace, rule: Directive, condition: Sequence[str]) -> Fault | None:
    """The test that prevents a rule for WebSockets from matching."""
    false = [
        (name, tests)
        for name, tests in _terms(trace.frontend, condition)
        if holds(("if", *_words_of(name)), trace.frontend, trace.request).answer is False
    ]
    if any(name.startswith("!") for name, _ in false):
        return None  # excluded on purpose
    of_host = [_host_patterns(tests) for _, tests in false]
    if not false or not all(not each or _is_near(trace, each) for each in of_host):
        return None  # a rule for a different site
    if not any(of_host) and not _is_for(trace, condition):
        return None
    name, tests = false[0]
    by = next((each for each in tests if isinstance(each, Directive)), rule)
    words = [each.words[2:] if isinstance(each, Directive) else tuple(each) for each in tests]
    slashes = next((found for each in words if (found := _close(trace, each[1:]))), "")
    is_path = any(each and _PATH.match(each[0]) for each in words)
    why = _why(trace, words, slashes if is_path else "")
    return fault(
        by,
        code="slash-mismatch" if is_path and slashes else "wrong-route",
        explains=_OF_ANOTHER | {"slash-mismatch", "bad-gateway"},
        cause=(
            f"`{rule}` ({rule.where}) does not match {trace.asked}, because"
            f" `{_shown(name, by, rule)}` is false for it{why}: it goes to backend"
            f" {trace.backend.name if trace.backend else ''} instead."
        ),
        fix="Change that test so that the WebSocket's handshake matches.",
        directive=_right(trace, words, slashes if is_path else ""),
        is_astray=True,
    )


def _host_patterns(tests: Sequence[Directive | Sequence[str]]) -> list[str]:
    """The names in tests of Host; empty if they test something else."""
    found: list[str] = []
    for test in tests:
        words = test.words[2:] if isinstance(test, Directive) else test
        if words and "host" in words[0].lower():
            found += [word for word in words[1:] if not word.startswith("-")]
    return found


def _is_near(trace: Trace, patterns: Sequence[str]) -> bool:
    """Whether one of these names may be meant for this site."""
    name = trace.request.name.lower()
    words = [each.lower().partition(":")[0] for each in patterns]
    return any(
        word.endswith(".") or f".{word}".endswith(f".{name}") or f".{name}".endswith(f".{word}")
        for word in words
    )


def _shown(name: str, by: Directive, rule: Directive) -> str:
    return name if by is rule else str(by)


def _why(trace: Trace, words: Sequence[tuple[str, ...]], slashes: str) -> str:
    text = " ".join(" ".join(each) for each in words).lower()
    if slashes:
        return f" ({slashes} is not {trace.asked}: check the slashes)"
    if "upgrade" in text:
        return (
            " (clients send `Upgrade: websocket` and `Connection: Upgrade`; the test is"
            " case-sensitive)"
        )
    host = trace.request.header("host")
    if "host" in text and isinstance(host, str):
        return f" (clients send `Host: {host}`)"
    return ""


def _right(trace: Trace, words: Sequence[tuple[str, ...]], slashes: str) -> str:
    text = " ".join(" ".join(each) for each in words).lower()
    if slashes:
        return f"path_beg {trace.asked}"
    if "hdr(upgrade)" in text:
        return "hdr(Upgrade) -i websocket"
    if "host" in text:
        return f"hdr(host),host_only -i {trace.request.name}"
    return ""


def _terms(
    section: Section, condition: Sequence[str]
) -> Iterator[tuple[str, list[Directive | tuple[str, ...]]]]:
    """Each term of a condition as written, with its tests: acl lines, or its own words."""
    words = list(condition[1:])
    while words:
        word = words.pop(0)
        if word in ("or", "||"):
            continue
        sign = "!" if word.startswith("!") else ""
        bare = word.removeprefix("!")
        if not bare and words:
            bare = words.pop(0)
        if bare == "{":
            end = words.index("}") if "}" in words else len(words)
            inside = tuple(words[:end])
            yield f"{sign}{{ {' '.join(inside)} }}", [inside]
            words = words[end + 1 :]
        else:
            yield sign + bare, list(section.own("acl", bare))


def _words_of(term: str) -> list[str]:
    return term.split(" ")


# --- what may refuse it ---------------------------------------------------------------------------


def possible_refusals(trace: Trace) -> Iterator[Fault]:
    """Rules that end some requests by properties of the client: its address, its User-Agent."""
    for rule in trace.unsure:
        action = rule.words[1] if rule.words[0] == "http-request" else rule.words[0]
        status = re.search(r"(?:deny_status|status) (\d+)", str(rule))
        usual = {"deny": 403, "tarpit": 500, "auth": 401, "return": 200}.get(action)
        if usual is None or "origin" in with_conditions(trace, rule).lower():
            continue
        number = int(status.group(1)) if status else usual
        yield fault(
            rule,
            code="login-required" if action == "auth" else "wrong-route",
            explains=_OF_ANOTHER,
            cause=f"`{rule}` answers with {number}, if {_told(trace, rule)}.",
            fix="Exclude the WebSocket's path from that rule, or admit the intended clients.",
            statuses=frozenset({number}),
            is_by_address=_is_by_address(trace, rule),
        )


def _is_by_address(trace: Trace, rule: Directive) -> bool:
    """Whether it depends on the client's address, or on a counter for it."""
    return re.search(r"\bsrc\b|\bsc\d*_|\btable_", with_conditions(trace, rule)) is not None


def _told(trace: Trace, rule: Directive) -> str:
    text = with_conditions(trace, rule)
    if re.search(r"\bsrc\b", text):
        return (
            "the client's address matches; for a request made on the host, that is the host's own"
        )
    if re.search(r"\bsc\d*_|table_", text):
        return "its counter says so: clients with many requests are refused for a while"
    return "the client's request matches"


def connection_rules(trace: Trace) -> Iterator[Fault]:
    """``tcp-request … reject``: the connection is closed without an HTTP response."""
    applied = {id(each) for each in (*trace.unsure, trace.end)}
    for section in (trace.frontend, trace.backend):
        for each in section.own("tcp-request") if section is not None else ():
            action = " ".join(each.words[1:3])
            if action not in ("connection reject", "content reject", "session reject"):
                continue
            answer = holds(each.words[3:], section, trace.request).answer if section else False
            if answer is False:
                continue
            why = f", if {_told(trace, each)}" if answer is UNKNOWN else ""
            port = str(trace.request.port)
            is_open = any(text.rpartition(":")[2] == port for text in trace.state.listeners)
            yield fault(
                each,
                code="connection-dropped",
                explains=frozenset({"connection-dropped", "not-http", "tls-failed"})
                | (frozenset({"proxy-down"}) if is_open else frozenset()),
                cause=f"`{each}` closes the connection without an answer{why}.",
                fix="Admit the intended clients.",
                is_by_address=_is_by_address(trace, each),
            )
        for each in section.own("http-request") if section is not None else ():
            if each.words[1:2] in (("reject",), ("silent-drop",)) and id(each) in applied:
                yield fault(
                    each,
                    code="connection-dropped",
                    explains=frozenset({"connection-dropped", "timeout", "service-hangs"}),
                    cause=f"`{each}` closes the connection without an answer.",
                    fix="Exclude the WebSocket's path from that rule.",
                )


def own_answers(trace: Trace) -> Iterator[Fault]:
    """A port that expects different clients, or a path that HAProxy answers itself."""
    bind = bind_of(trace.frontend, trace.request.port)
    words = bind.words if bind is not None else ()
    odd = {
        "accept-proxy": "expects each connection to start with a PROXY line, as sent by a load"
        " balancer in"
        " front, and disconnects clients that send none",
        "proto h2": "speaks only HTTP/2, but WebSocket clients use HTTP/1.1",
    }
    for word, what in odd.items():
        if f" {word}" in f" {' '.join(words)} ":
            yield fault(
                bind,
                code="connection-dropped",
                explains=frozenset({"connection-dropped", "not-http", "tls-failed"}),
                cause=f"`{bind}` {what}.",
                fix=f"Remove {word} from that line if clients connect directly to it.",
                is_of_line=word == "accept-proxy",
            )
    found = trace.frontend.setting("monitor-uri")
    if found is not None and found.words[1:2] == (trace.asked,):
        yield fault(
            found,
            code="page-instead",
            explains=_OF_ANOTHER,
            cause=(
                f"`{found}`: HAProxy itself answers {trace.asked} with 200, before it evaluates"
                " any rule."
            ),
            fix="Use a path for the monitor that no service has.",
        )
