"""Which keys each kind of route has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from deployer.playbook.schema.models import Misplaced

#: The keys of a route that not every kind of route has.
_OF_WEBSOCKETS = ("ping_interval", "origins", "require_origin", "login", "probe")
_OF_SERVICES = (
    "balance",
    "sticky",
    "health",
    "resolve",
    "strip_prefix",
    "rewrite_location",
    "buffering",
    "timeout",
    "max_body",
    "idle_timeout",
    "request_headers",
)
_OF_ANSWERS = (
    *("snippets", "response_headers", "allow", "deny", "basic_auth", "auth_request"),
    *("rate_limit", "cors"),
)
_OF_FOLDERS = ("index", "spa")


#: What each key that a kind of route does not have is reported with.
_MISPLACED: Mapping[str, Mapping[str, str]] = {
    "websocket": {
        **dict.fromkeys(_OF_FOLDERS, "requires a route with a root"),
        "cors": "does not apply to WebSockets: 'origins' are the pages that may connect",
    },
    "upstream": {
        **dict.fromkeys(_OF_WEBSOCKETS, "requires a websocket route"),
        **dict.fromkeys(_OF_FOLDERS, "requires a route with a root"),
    },
    "root": {
        **dict.fromkeys(_OF_WEBSOCKETS, "requires a websocket route"),
        **dict.fromkeys(_OF_SERVICES, "has no effect on a folder of files"),
    },
    "redirect": {
        **dict.fromkeys(_OF_WEBSOCKETS, "requires a websocket route"),
        **dict.fromkeys(_OF_FOLDERS, "requires a route with a root"),
        **dict.fromkeys((*_OF_SERVICES, *_OF_ANSWERS), "has no effect on a redirect"),
    },
}


def keys_of_other_kinds(kind: str, node: Mapping[str, object]) -> Iterator[Misplaced]:
    """An error for each key in `node` that routes of this `kind` do not have."""
    for key, why in _MISPLACED[kind].items():
        if key in node:
            yield Misplaced(key, f"'{key}' {why}")
    if "timeout" in node and kind == "websocket":
        hint = "idle_timeout also applies to the plain requests of the route"
        yield Misplaced("timeout", "'timeout' requires an upstream route", hint)
    if "timeout" in node and "idle_timeout" in node and kind == "upstream":
        yield Misplaced("idle_timeout", "an upstream route has 'timeout' alone", "remove it")
