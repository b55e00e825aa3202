"""Options of ``ssh`` in Ansible's variables and settings, by OpenSSH's own rules.

Each option becomes a setting as in the SSH config, so that one rule covers both: the first value
counts. What would change the connection and is not supported is refused, never ignored.

Source: ssh(1), ssh_config(5), and ssh.c of OpenSSH for the order of its options.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from deployer.errors import UsageError
from deployer.text.numbers import is_number
from deployer.transport.ssh_config import split_line

Setting = tuple[str, tuple[str, ...]]

#: Keywords whose values are used.
_HONOURED = frozenset(
    (
        *("addressfamily", "bindaddress", "connecttimeout", "globalknownhostsfile", "hostkeyalias"),
        *(
            "hostname",
            "identitiesonly",
            "identityagent",
            "identityfile",
            "kbdinteractiveauthentication",
        ),
        *(
            "passwordauthentication",
            "port",
            "preferredauthentications",
            "proxycommand",
            "proxyjump",
        ),
        *("pubkeyauthentication", "stricthostkeychecking", "user", "userknownhostsfile"),
    )
)

#: Keywords that change neither the way to the host nor what happens there.
_HARMLESS = frozenset(
    (
        *("addkeystoagent", "batchmode", "checkhostip", "clearallforwardings", "compression"),
        *("connectionattempts", "controlmaster", "controlpath", "controlpersist", "escapechar"),
        *("exitonforwardfailure", "fingerprinthash", "hashknownhosts", "ipqos", "logverbose"),
        *("loglevel", "numberofpasswordprompts", "obscurekeystroketiming", "rekeylimit"),
        *("serveralivecountmax", "serveraliveinterval", "syslogfacility", "tcpkeepalive"),
        *("updatehostkeys", "visualhostkey", "warnweakcrypto", "enableescapecommandline"),
    )
)

#: Keywords whose value must be one of these, or what it says by default.
_ONLY: Mapping[str, tuple[str, ...]] = {
    "canonicalizehostname": ("no", "none", "false"),
    "challengeresponseauthentication": ("no", "yes"),
    "enablesshkeysign": ("no",),
    "forkafterauthentication": ("no",),
    "forwardagent": ("no",),
    "forwardx11": ("no",),
    "forwardx11trusted": ("no",),
    "gatewayports": ("no",),
    "gssapiauthentication": ("no",),
    "gssapidelegatecredentials": ("no",),
    "hostbasedauthentication": ("no",),
    "nohostauthenticationforlocalhost": ("no",),
    "permitlocalcommand": ("no",),
    "protocol": ("2",),
    "proxyusefdpass": ("no",),
    "requesttty": ("no", "auto"),
    "sessiontype": ("default",),
    "stdinnull": ("no",),
    "streamlocalbindunlink": ("no", "yes"),
    "tunnel": ("no",),
    "useroaming": ("no",),
    "verifyhostkeydns": ("no",),
}

#: Keywords that list algorithms: those appended with ``+`` are offered anyway.
_ALGORITHMS = frozenset(
    (
        *("casignaturealgorithms", "ciphers", "hostbasedacceptedalgorithms", "hostkeyalgorithms"),
        *("hostbasedkeytypes", "kexalgorithms", "macs", "pubkeyacceptedalgorithms"),
        *("pubkeyacceptedkeytypes",),
    )
)

#: Options of which, unlike others, the last one counts.
_OVERRIDING = "46b"
_WAYS = ("proxyjump", "proxycommand")

#: Options with a value that are a keyword; those without one, and their keyword and value.
_WITH_VALUE = {
    "J": "proxyjump",
    "b": "bindaddress",
    "c": "ciphers",
    "i": "identityfile",
    "l": "user",
    "m": "macs",
    "p": "port",
}
_ALONE: Mapping[str, Setting | None] = {
    "4": ("addressfamily", ("inet",)),
    "6": ("addressfamily", ("inet6",)),
    "2": None,
    "C": None,
    "M": None,
    "T": None,
    "a": None,
    "k": None,
    "n": None,
    "q": None,
    "v": None,
    "x": None,
    "y": None,
}
#: Further options with a value; those of `_UNUSED` have no effect here.
_OTHER_VALUES = "BDEILOPQRSWew"
_UNUSED = "ESe"


@dataclass(frozen=True, slots=True)
class SshArgs:
    """Parsed options: settings in their order; `config_file` is that of ``-F``."""

    settings: tuple[Setting, ...] = ()
    config_file: str | None = None

    def then(self, other: SshArgs) -> SshArgs:
        """These options followed by others; of ``-F``, the last one counts."""
        return SshArgs(
            self.settings + other.settings,
            self.config_file if other.config_file is None else other.config_file,
        )

    def first(self, keyword: str) -> str | None:
        """The first value of a keyword."""
        for name, words in self.settings:
            if name == keyword:
                return words[0]
        return None


def parse_args(words: Sequence[str]) -> SshArgs:
    """The options of a command line without its destination.

    Raises: UsageError, for an option that is unknown, incomplete or not supported.
    """
    return _parsed(tuple(words))


def parse_words(text: str) -> SshArgs:
    """The options in a text that is quoted as in a shell. Raises: UsageError."""
    try:
        return parse_args(shlex.split(text))
    except ValueError:
        raise UsageError(f"options of ssh: a quote is not closed: {text}") from None


def is_unchecked(args: SshArgs) -> bool:
    """Whether options turn off the check of host keys."""
    return (args.first("stricthostkeychecking") or "").lower() in ("no", "off")


@lru_cache(maxsize=256)
def _parsed(words: tuple[str, ...]) -> SshArgs:
    settings: list[Setting] = []
    config_file: str | None = None
    for letter, value in _options(words):
        if letter == "F":
            config_file = _config_file(value)
        elif letter == "o":
            settings.append(_option(value))
        elif letter in _WITH_VALUE:
            if letter == "J" and any(name in _WAYS for name, _ in settings):
                raise UsageError(
                    f"-J {value} after another way to the host",
                    hint="separate several hops with commas: -J a,b",
                )
            setting = _checked(_WITH_VALUE[letter], (value,), f"-{letter} {value}")
            settings.insert(0 if letter in _OVERRIDING else len(settings), setting)
        elif letter in _UNUSED:
            continue
        elif letter in _ALONE:
            alone = _ALONE[letter]
            if alone is not None:
                settings.insert(0, alone)
        else:
            raise UsageError(f"the ssh option -{letter} is not supported", hint=_HINT)
    return SshArgs(tuple(settings), config_file)


_HINT = "an SSH connection here runs one program, without a terminal and without forwarding"


def _options(words: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Each option's letter and its value; letters may share one word, as for getopt(3)."""
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word in ("-", "--"):
            raise UsageError(
                f"'{word}' is not an option of ssh", hint="quote a value with spaces: -o 'A b'"
            )
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in _WITH_VALUE or letter in "oF" or letter in _OTHER_VALUES:
                value = letters or next(rest, None)
                if value is None:
                    raise UsageError(f"the ssh option -{letter} has no value")
                yield letter, value
                break
            yield letter, ""


def _config_file(value: str) -> str:
    path = os.path.expanduser(value)
    if value.lower() != "none" and not Path(path).is_file():
        raise UsageError(f"the SSH config {value} of -F does not exist")
    return path


def _option(text: str) -> Setting:
    keyword, words = split_line(text, f"-o {text}")
    if not keyword:
        raise UsageError("the ssh option -o has no value")
    return _checked(keyword, words, f"-o {text}")


def _checked(keyword: str, words: tuple[str, ...], written: str) -> Setting:
    value = words[0].lower()
    if keyword in _HONOURED or keyword in _HARMLESS:
        if keyword == "port" and not (is_number(value) and 0 < int(value) < 65536):
            raise UsageError(f"{written}: {words[0]!r} is not a port")
        return keyword, words
    if keyword in _ALGORITHMS and value.startswith("+"):
        return keyword, words
    if value in _ONLY.get(keyword, ()):
        return keyword, words
    from difflib import get_close_matches

    near = get_close_matches(keyword, (*_HONOURED, *_HARMLESS, *_ONLY, *_ALGORITHMS), n=1)
    is_typo = bool(near) and near[0] != keyword
    raise UsageError(
        f"the ssh option {written} is not supported",
        hint=f"did you mean {near[0]}?" if is_typo else _HINT,
    )
