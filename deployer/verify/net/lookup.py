"""The result of a name lookup: a plain value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """The addresses of a name, in the resolver's order; `problem` says why there are none.

    `is_overridden`: the addresses were given by the user and not by DNS.
    """

    name: str
    addresses: tuple[str, ...] = ()
    problem: str = ""
    seconds: float = 0.0
    is_overridden: bool = False
