"""What a name leads to: a plain value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """What a name resolves to, in the resolver's order; `problem` says why there is nothing.

    `is_overridden` where the addresses are a person's word and not that of DNS.
    """

    name: str
    addresses: tuple[str, ...] = ()
    problem: str = ""
    seconds: float = 0.0
    is_overridden: bool = False
