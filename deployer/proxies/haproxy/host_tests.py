"""What conditions and maps of HAProxy test: names of hosts, paths, upgrades.

Source: HAProxy's configuration manual, 7 "Using ACLs and fetching samples".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from deployer.proxies.haproxy.config import HaproxyConfig, Section
from deployer.proxies.haproxy.path import split
from deployer.proxies.haproxy.samples import file_entries, flags_and_patterns, split_calls
from deployer.proxies.inspect.model import Directive
from deployer.proxies.inspect.names import from_regex

#: A method such as ``end``, and the pattern.
Host = tuple[str, str]

_HOST_CALL = re.compile(
    r"(?:req\.|capture\.req\.)?f?hdr(?:_(\w+))?\(\s*host\s*(?:,[^)]*)?\)", re.IGNORECASE
)
_SNI_CALL = re.compile(r"(?:req[._])?ssl(?:_fc)?_sni(?:_(\w+))?")
_BASE_CALL = re.compile(r"base(?:32)?(?:_(\w+))?")
_VARIABLE = re.compile(r"(?:req\.|txn\.|sess\.)?var\(([\w.]+)\)")
_PATH_CALL = re.compile(r"(?:path|pathq|url)(?:_(\w+))?")
_MAP = re.compile(r"\bmap(?:_(\w+))?\(([^,)\s]+)")
#: Converters that cut a part of a name: ``word(1,'.')``, ``field(1,.)``.
_FIRST_LABEL = re.compile(r"\b(?:word|field)\(1,['\"]?\.")
_METHODS = frozenset({"beg", "end", "sub", "dir", "dom", "reg", "str", "len", "found"})
_VAGUE = frozenset({"reg", "sub", "len"})
_RULES = frozenset(
    {"use_backend", "use-server", "http-request", "redirect", "tcp-request", "block", "acl"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """What one test is about: host names, or paths."""

    hosts: tuple[Host, ...] = ()
    paths: tuple[str, ...] = ()
    wants_upgrade: bool = False
    is_negated: bool = False


def host_variables(config: HaproxyConfig) -> Iterator[str]:
    """The variables that hold the name in the request; other sections may set them."""
    for section in config.of_kind("frontend", "listen", "backend", "defaults"):
        for each in section.own("http-request"):
            found = re.match(r"set-var(?:-fmt)?\(([\w.]+)", "".join(each.words[1:2]))
            if found and any(_HOST_CALL.search(word) for word in each.words[2:]):
                yield found[1]


class Tests:
    """Reads tests in conditions and ACLs of one section; `variables` are those with hosts."""

    def __init__(self, config: HaproxyConfig, section: Section, variables: Collection[str]) -> None:
        self._config = config
        self._acls: dict[str, list[Directive]] = {}
        self._levels = (*([section.defaults] if section.defaults is not None else []), section)
        for level in self._levels:
            for each in level.own("acl"):
                if len(each.words) > 2:
                    self._acls.setdefault(each.words[1], []).append(each)
        self._variables = variables
        self._named: dict[str, tuple[Test, ...]] = {}

    def rules(self) -> Iterator[tuple[Directive, list[Test]]]:
        """Each line with conditions or maps, and what it tests."""
        for level in self._levels:
            for each in level.directives:
                word = each.words[0]
                if word not in _RULES:
                    continue
                named = tuple(self.of_maps(each))
                if word == "acl":
                    tests = [self.of_words(each.words[2:])] if len(each.words) > 2 else []
                else:
                    tests = list(self.of_condition(split(each.words)[2]))
                    named += tuple(self._backends_by_name(each, tests))
                yield each, [*([Test(hosts=named)] if named else []), *tests]

    def of_condition(self, condition: Sequence[str]) -> Iterator[Test]:
        """The tests in ``if …`` or ``unless …``."""
        words = list(condition[1:])
        while words:
            word = words.pop(0)
            is_negated, word = word.startswith("!"), word.removeprefix("!")
            if word == "{":
                end = words.index("}") if "}" in words else len(words)
                if end:
                    yield self.of_words(words[:end], is_negated=is_negated)
                words = words[end + 1 :]
            elif not is_negated:
                yield from self._of_acl(word)

    def _of_acl(self, name: str) -> tuple[Test, ...]:
        if name not in self._named:
            lines = self._acls.get(name, ())
            self._named[name] = tuple(self.of_words(each.words[2:]) for each in lines)
        return self._named[name]

    def of_maps(self, by: Directive) -> Iterator[Host]:
        """The keys of maps that a line looks the name up in."""
        for word in by.words:
            is_base = _BASE_CALL.search(word) is not None and not _HOST_CALL.search(word)
            if not (is_base or self._is_about_hosts(word)):
                continue
            for method, path in _MAP.findall(word):
                for key, _ in file_entries(self._config.files.get(path, "")):
                    if is_base:
                        yield "reg" if method == "reg" else "str", key.partition("/")[0]
                    else:
                        yield method if method in _METHODS else "str", key

    def _backends_by_name(self, by: Directive, tests: Sequence[Test]) -> Iterator[Host]:
        """The names that select a backend of the same name: ``use_backend site_%[hdr(host)]``."""
        word = by.words[1] if by.words[0] == "use_backend" and by.words[1:] else ""
        if "map" in word or not self._is_about_hosts(word):
            return
        before, _, rest = word.partition("%[")
        after = rest.rpartition("]")[2]
        ends = [
            pattern
            for test in tests
            for method, pattern in test.hosts
            if method == "end" and pattern.startswith(".")
        ]
        for each in self._config.of_kind("backend"):
            middle = each.name[len(before) : len(each.name) - len(after)]
            if not middle or each.name != f"{before}{middle}{after}":
                continue
            if not _FIRST_LABEL.search(word):
                yield from (("str", middle),) if "." in middle else ()
            elif "." not in middle:
                yield from (("str", f"{middle}{end}") for end in ends)
                yield from () if ends else (("beg", f"{middle}."),)

    def of_words(self, words: Sequence[str], *, is_negated: bool = False) -> Test:
        """One test, such as ``hdr(host) -i a.example.com``."""
        expression, *rest = words
        first = split_calls(expression)[0] if split_calls(expression) else ""
        files = self._config.files
        flags, found = flags_and_patterns(rest, lambda name: files.get(name, ""))
        patterns = found or []
        method = flags.get("m", "")
        host = _HOST_CALL.fullmatch(first) or _SNI_CALL.fullmatch(first)
        base = _BASE_CALL.fullmatch(first)
        path = _PATH_CALL.fullmatch(first)
        variable = _VARIABLE.fullmatch(first)
        suffix = (host[1] or "") if host else ""
        if host and suffix and suffix not in _METHODS:
            return Test()  # a count, a number or an address
        if host or (variable and variable[1] in self._variables):
            method = method or suffix or "str"
            if method == "found":
                return Test()
            is_check = is_negated and method in _VAGUE  # that a name is well formed
            hosts = tuple((method, each) for each in patterns if not is_check)
            return Test(hosts=hosts, is_negated=is_negated)
        if base:
            names = (each.partition("/")[0] for each in patterns)
            return Test(hosts=tuple(("str", each) for each in names), is_negated=is_negated)
        if path:
            method = method or path[1] or "str"
            made = (_path(method, each) for each in patterns)
            return Test(paths=tuple(each for each in made if each), is_negated=is_negated)
        is_upgrade = re.match(r"(?:req\.)?f?hdr(?:_\w+)?\(upgrade", first, re.IGNORECASE)
        return Test(wants_upgrade=bool(is_upgrade) and not is_negated)

    def _is_about_hosts(self, word: str) -> bool:
        variables = _VARIABLE.findall(word)
        is_variable = any(each in self._variables for each in variables)
        return is_variable or bool(_HOST_CALL.search(word) or re.search(r"ssl(?:_fc)?_sni", word))


def _path(method: str, pattern: str) -> str:
    """A path that a test matches; empty if none is evident."""
    if method == "reg":
        return from_regex(pattern, text_before="/") or ""
    if method in ("end", "sub", "dir"):
        pattern = f"/{pattern.lstrip('/')}"
    return pattern if pattern.startswith("/") else ""
