"""The registered domain of a host name, by which CAs count certificates.

Source: https://publicsuffix.org/list/ (format and algorithm), and for addresses
https://letsencrypt.org/docs/rate-limits/#new-certificates-per-registered-domain
"""

from __future__ import annotations

import ipaddress

#: Debian's package `publicsuffix`.
SUFFIX_LIST = "/usr/share/publicsuffix/public_suffix_list.dat"
#: Second-level names under which countries register, without a list of public suffixes.
_SECOND_LEVEL = frozenset(
    ("ac", "co", "com", "edu", "gob", "gov", "go", "gv", "mil", "ne", "net", "or", "org", "sch")
)


class RegisteredDomains:
    """Registered domains by the list of public suffixes at `path`, or by a rule of thumb."""

    def __init__(self, path: str = SUFFIX_LIST) -> None:
        self._path = path
        self._rules: frozenset[str] | None = None

    def of(self, name: str) -> str:
        """The domain under a public suffix, an address of version 4, or a /64 of version 6."""
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            pass
        else:
            if address.version == 4:
                return str(address)
            return str(ipaddress.ip_network((address, 64), strict=False))
        labels = name.lower().rstrip(".").split(".")
        if labels[0] == "*":
            labels = labels[1:]
        if self._rules is None:
            self._rules = _rules(self._path)
        length = self._suffix_length(labels) if self._rules else _usual_length(labels)
        return ".".join(labels[-(length + 1) :])

    def _suffix_length(self, labels: list[str]) -> int:
        """How many labels the public suffix has: exceptions first, then the longest rule."""
        rules = self._rules or frozenset()
        for start in range(len(labels)):
            rest = labels[start:]
            if "!" + ".".join(rest) in rules:
                return len(rest) - 1
            if ".".join(rest) in rules or ".".join(["*", *rest[1:]]) in rules:
                return len(rest)
        return 1


def _usual_length(labels: list[str]) -> int:
    is_national = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _SECOND_LEVEL
    return 2 if is_national else 1


def _rules(path: str) -> frozenset[str]:
    try:
        with open(path, encoding="utf-8") as file:
            words = (line.split() for line in file)
            found = [each[0] for each in words if each and not each[0].startswith("//")]
    except (OSError, ValueError):
        return frozenset()
    return frozenset(map(_ascii, found))


def _ascii(rule: str) -> str:
    """Names have ASCII labels; the list has Unicode ones."""
    if rule.isascii():
        return rule.lower()
    try:
        return rule.encode("idna").decode()
    except UnicodeError:
        return rule
