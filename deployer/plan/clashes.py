"""Addresses on which a plan would have one proxy listen twice. Pure.

A proxy may accept that, and the kernel then gives each connection to one of the two at random: half
of the requests for a name fail, and a check may be lucky.
"""

from __future__ import annotations

from collections.abc import Iterable

from deployer.proxies import PROXIES
from deployer.proxies.inspect.names import ServedName


def clash_words(before: Iterable[ServedName], after: Iterable[ServedName]) -> str:
    """Why a plan is refused after which an address has two default servers; empty if none has."""
    known = {_key(each) for each in before if each.is_default and each.also_at}
    clashes = {
        (each.port, each.where, *each.also_at): each
        for each in after
        if each.is_default and each.also_at and _key(each) not in known
    }
    if not clashes:
        return ""
    lines = [
        f"    - port {each.port} of {PROXIES[each.proxy].title}:"
        f" {' and '.join((each.where, *each.also_at))}"
        for each in clashes.values()
    ]
    return "\n".join(
        [
            "after this plan, two parts of the configuration would listen on the same address:",
            *lines,
            "Each connection would reach one of them at random.",
            "Nothing was changed. Remove one of the two, or give it a different port.",
        ]
    )


def _key(served: ServedName) -> tuple[str, str, int]:
    return served.proxy, served.address or served.socket, served.port
