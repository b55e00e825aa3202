"""The seal on a plan's file: nothing in it can be changed, or made up, without the project's key.

A sealed file is one JSON document, written in one way only. Its last entry is an HMAC-SHA256
(RFC 2104) over the document without it; a file that is not byte for byte what we would write of
what it says is an altered one, whatever the seal says.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deployer.errors import UsageError

FORMAT_VERSION = 1
KEY_BYTES = 32

#: The first key of the document, by which a file is known to be one, and what it tells people.
MARK = "deployer_sealed_plan"
_MARK_WORDS = "For `deployer apply` alone, as it is. It holds secrets: keep it to yourself."
_BEGINNING = re.compile(rb'\s*\{\s*"' + MARK.encode() + rb'"')

_UNTOUCHED = "no host was touched"


def is_sealed(beginning: bytes) -> bool:
    """Whether a file that begins so is a sealed plan, whole or not."""
    return _BEGINNING.match(beginning) is not None


def is_sealed_file(path: Path) -> bool:
    """Whether a sealed plan is at `path`: its content tells, not its name."""
    try:
        with path.open("rb") as file:
            return is_sealed(file.read(256))
    except (OSError, ValueError):
        return False


def sealed_text(document: Mapping[str, Any], *, key: bytes) -> bytes:
    """The file for `document`, which must have nothing but what JSON has."""
    whole = {MARK: _MARK_WORDS, "format_version": FORMAT_VERSION, "key": key_name(key), **document}
    return _written({**whole, "seal": _seal(whole, key)})


def unsealed(
    text: bytes, *, name: str, key: Callable[[Mapping[str, Any]], bytes]
) -> Mapping[str, Any]:
    """The document of a file that is as it was sealed.

    Args:
        name: the file's, for errors.
        key: finds the key by what the document says of its project, which is not proven yet.

    Raises:
        UsageError: it is not whole, altered, of another format, or sealed with another key.
    """
    document = _parsed(text, name)
    version = document.get("format_version")
    if version != FORMAT_VERSION:
        raise _other_format(document, name)
    found = key(document)
    if document.get("key") != key_name(found):
        raise UsageError(
            f"{name} was sealed with another key than this project's: by another controller, or "
            f"before the key was made anew; {_UNTOUCHED}",
            hint="Apply it where it was planned, or plan again here: "
            "deployer plan SITE.yml --out FILE",
        )
    whole = {entry: value for entry, value in document.items() if entry != "seal"}
    try:
        expected = _written({**whole, "seal": _seal(whole, found)})
    except (ValueError, RecursionError):  # numbers or a depth that we would not write
        expected = b""
    if not hmac.compare_digest(text, expected):
        raise _altered(name)
    return whole


def key_name(key: bytes) -> str:
    """What tells a key from others, and nothing of the key."""
    return hmac.new(key, b"the name of this key", hashlib.sha256).hexdigest()[:16]


def _parsed(text: bytes, name: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise _altered(name) from error
    except ValueError as error:
        if text.rstrip().endswith(b"}"):
            raise _altered(name) from error
        raise UsageError(
            f"{name} is not whole: a part of the sealed plan is missing at its end; {_UNTOUCHED}",
            hint="Copy the file again, or plan again: deployer plan SITE.yml --out FILE",
        ) from error
    if not isinstance(document, dict) or MARK not in document:
        raise UsageError(f"{name} is not a sealed plan; {_UNTOUCHED}")
    return document


def _altered(name: str) -> UsageError:
    return UsageError(
        f"{name} was altered after it was sealed; {_UNTOUCHED}",
        hint="Plan again: deployer plan SITE.yml --out FILE",
    )


def _other_format(document: Mapping[str, Any], name: str) -> UsageError:
    version, maker = document.get("format_version"), document.get("deployer")
    if isinstance(version, int) and version > FORMAT_VERSION:
        return UsageError(
            f"{name} was made by a newer deployer ({maker}), in format {version}; this one reads "
            f"format {FORMAT_VERSION}; {_UNTOUCHED}",
            hint="Apply it with that version, or plan again with this one.",
        )
    return UsageError(
        f"{name} has format {version!r}; this deployer reads format {FORMAT_VERSION}; {_UNTOUCHED}",
        hint="Plan again: deployer plan SITE.yml --out FILE",
    )


def _written(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1, allow_nan=False).encode("ascii") + b"\n"


def _seal(document: Mapping[str, Any], key: bytes) -> str:
    """Over the canonical form: keys in order, no spaces, ASCII alone."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hmac.new(key, text.encode("ascii"), hashlib.sha256).hexdigest()
