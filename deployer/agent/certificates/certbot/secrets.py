"""Texts of other programs without the secrets that certbot gets."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

_HIDDEN = "(hidden)"
_WORDS = r"(?:secret|token|password|passwd|passphrase|hmac[-_]?key|api[-_]?key|private[-_]?key)"
#: `key = value` and `key: value` from any program, and options of certbot. All lengths are bounded:
#: the text may come from a CA, which must not cause long searches.
_ASSIGNED = re.compile(
    rf"(?i)({_WORDS}[\w-]{{0,40}}[\"']?(?:\s{{0,4}}[=:]\s{{0,4}}|\s{{1,4}}(?=[^\s-]{{0,200}}[\d+/=])))"
    r"[\"']?([^\s\"',;]{4,})"
)
_CREDENTIAL = re.compile(rf"(?im)^\s*[\w-]*(?:{_WORDS}|key)[\w-]*\s*[=:]\s*(\S+)")


def without_secrets(text: str, settings: Json) -> str:
    """`text` without the HMAC key of `settings`, the secrets of its DNS plugin, and the like."""
    values = {str((settings.get("eab") or {}).get("hmac_key") or "")}
    values.update(_of_credentials((settings.get("dns") or {}).get("credentials")))
    for value in sorted((each for each in values if len(each) >= 4), key=len, reverse=True):
        text = re.sub(_wrapped(value), _HIDDEN, text)
    return _ASSIGNED.sub(lambda found: found[1] + _HIDDEN, text)


def _wrapped(value: str) -> str:
    """A pattern for `value`; old certbots wrap their lines, also behind a hyphen within a word."""
    return re.escape(value).replace(r"\-", r"\-\s*")


def _of_credentials(path: str | None) -> list[str]:
    if not path:
        return []
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return [value.strip("\"'") for value in _CREDENTIAL.findall(file.read(1 << 16))]
    except OSError:
        return []
