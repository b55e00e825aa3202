"""The seal on a plan's file: it cannot be altered or forged without the project's key.

A sealed file is one JSON document in a fixed form. Its last entry is an HMAC-SHA256 (RFC 2104) over
the document without it. A file that differs by a byte from what `sealed_text` would write for its
content is altered, whatever its seal.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from deployer.errors import UsageError
from deployer.text.reading import is_regular

FORMAT_VERSION = 1
KEY_BYTES = 32

#: The first key of the document, which identifies the file, and its text for people.
MARK = "deployer_sealed_plan"
_MARK_WORDS = "Only for `deployer apply`; do not edit. Contains secrets: do not share it."
_BEGINNING = re.compile(rb'\s*\{\s*"' + MARK.encode() + rb'"')

_UNTOUCHED = "no host was touched"


def is_sealed(beginning: bytes) -> bool:
    """Whether a file that begins with these bytes is a sealed plan, complete or not."""
    return _BEGINNING.match(beginning) is not None


def is_sealed_file(path: Path) -> bool:
    """Whether `path` is a sealed plan, judged by its content."""
    if not is_regular(path):  # what is read from a pipe is gone
        return False
    try:
        with path.open("rb") as file:
            return is_sealed(file.read(256))
    except (OSError, ValueError):
        return False


def sealed_text(document: Mapping[str, object], *, key: bytes) -> bytes:
    """The content of the file for `document`, which must be JSON."""
    content = {
        MARK: _MARK_WORDS,
        "format_version": FORMAT_VERSION,
        "key": key_name(key),
        **document,
    }
    return _written({**content, "seal": _seal(content, key)})


def unsealed(
    text: bytes, *, name: str, key: Callable[[Mapping[str, object]], bytes]
) -> Mapping[str, object]:
    """The document of an unaltered file.

    Args:
        name: the name of the file, for errors.
        key: returns the key for the project that the document, not yet verified, claims.

    Raises:
        UsageError: it is incomplete, altered, or has a different format or key.
    """
    document = _parsed(text, name)
    version = document.get("format_version")
    if version != FORMAT_VERSION:
        raise _other_format(document, name)
    found = key(document)
    if document.get("key") != key_name(found):
        raise UsageError(
            f"{name} was sealed with a different key: by a different controller, or before the key "
            f"of this project was replaced; {_UNTOUCHED}",
            hint="Apply it where it was planned, or plan again here: "
            "deployer plan SITE.yml --out FILE",
        )
    content = {entry: value for entry, value in document.items() if entry != "seal"}
    try:
        expected = _written({**content, "seal": _seal(content, found)})
    except (ValueError, RecursionError):  # numbers or nesting that `_written` refuses
        expected = b""
    if not hmac.compare_digest(text, expected):
        raise _altered(name)
    return content


def key_name(key: bytes) -> str:
    """An identifier of a key that reveals nothing about it."""
    return hmac.new(key, b"the name of this key", hashlib.sha256).hexdigest()[:16]


def _parsed(text: bytes, name: str) -> dict[str, object]:
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise _altered(name) from error
    except ValueError as error:
        if text.rstrip().endswith(b"}"):
            raise _altered(name) from error
        raise UsageError(
            f"{name} is incomplete: the end of the sealed plan is missing; {_UNTOUCHED}",
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


def _other_format(document: Mapping[str, object], name: str) -> UsageError:
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


def _written(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, indent=1, allow_nan=False).encode("ascii") + b"\n"


def _seal(document: Mapping[str, object], key: bytes) -> str:
    """Over the canonical form: sorted keys, no spaces, ASCII only."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hmac.new(key, text.encode("ascii"), hashlib.sha256).hexdigest()
