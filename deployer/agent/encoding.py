"""Hashes, base64, and JSON in its two forms: canonical for hashes, compact for files."""

from __future__ import annotations

import binascii
import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import sha256 as sha256
    from typing import Any
else:
    try:
        from _sha256 import sha256  # hashlib loads OpenSSL, which takes longer than a whole probe
    except ImportError:
        from hashlib import sha256


__all__ = ["canonical", "canonical_json", "sha256", "to_b64"]


def to_b64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def canonical_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
