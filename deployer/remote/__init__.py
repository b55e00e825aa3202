"""The program that works on a host, as the bytes that are sent there."""

from __future__ import annotations

from functools import cache
from pathlib import Path

__all__ = ["source"]


@cache
def source() -> bytes:
    """The runner's source text, read once in a process."""
    return Path(__file__).with_name("runner.py").read_bytes()
