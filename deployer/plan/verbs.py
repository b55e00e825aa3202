"""The verb for a change: packages are installed, services started, files created.

The wire and ``--json`` have three actions for every kind, create, update and delete; people read
what happens to the thing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from deployer.model import Attributes, Document

#: By kind, the verbs for create, update and delete.
_BY_KIND: Mapping[str, tuple[str, str, str]] = {
    "package": ("install", "upgrade", "remove"),
    "command": ("run", "run", "run"),
    "certificate": ("order", "renew", "delete"),
    "user": ("create", "update", "remove"),
    "service": ("set up", "change", "remove"),  # if its attributes are unknown
}
_OTHERS = ("create", "update", "delete")
_ACTIONS = {"create": 0, "update": 1, "delete": 2}
#: The attributes of a service, and the verbs for true and false.
_OF_SERVICES = {"active": ("start", "stop"), "enabled": ("enable", "disable")}
#: The past of verbs that do not take just -d or -ed.
_PAST = {"run": "run", "set up": "set up", "stop": "stopped"}
#: Summaries count changes in this order.
_ORDER = (
    *("install", "upgrade", "order", "renew", "create", "update", "run"),
    *("start", "enable", "set up", "change", "disable", "stop", "remove", "delete"),
)


def verbs(
    kind: str, action: str, before: Attributes | None = None, after: Attributes | None = None
) -> tuple[str, ...]:
    """What is done to a thing of `kind`: ``("install",)``, ``("start", "enable")``.

    Without the attributes of a service, nothing more than its action is known.
    """
    if kind == "service" and after:
        found = tuple(
            words[0] if after[key] else words[1]
            for key, words in _OF_SERVICES.items()
            if key in after and after[key] != (before or {}).get(key)
        )
        if found:
            return found
    return (_BY_KIND.get(kind, _OTHERS)[_ACTIONS[action]],)


def past(words: Iterable[str]) -> str:
    """``installed``, ``started and enabled``."""
    return " and ".join(map(_past, words))


def _past(verb: str) -> str:
    return _PAST.get(verb) or f"{verb}{'d' if verb.endswith('e') else 'ed'}"


def counted(found: Iterable[tuple[str, ...]], *, is_done: bool = False) -> str:
    """``1 to install, 2 to start and enable``; with `is_done`, ``1 installed, 2 started``…"""
    counts: dict[tuple[str, ...], int] = {}
    for each in found:
        counts[each] = counts.get(each, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: _ORDER.index(item[0][0]))
    if is_done:
        return ", ".join(f"{number} {past(words)}" for words, number in ordered)
    return ", ".join(f"{number} to {' and '.join(words)}" for words, number in ordered)


def change_verbs(change: Document) -> tuple[str, ...]:
    """The verbs of a change in a document."""
    kind = str(change["resource_id"]).partition(":")[0]
    return verbs(kind, change["action"], change.get("before"), change.get("after"))
