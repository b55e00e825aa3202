"""The paths of routes: what they match, and which route serves a request.

A path may have placeholders, ``/api/kernels/{id}/channels``: each matches one segment that is not
empty. Of the routes that match a request, the one with the most segments serves it. Among
those with equally many, the first difference decides: a name comes before a placeholder. At last,
an exact path comes before a prefix.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from deployer.sites.model import Route

_PLACEHOLDER = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")
#: What checks send in place of a placeholder.
MADE_UP = "deployer-check"
_SEGMENT = "[^/]+"


def path_of(route: Route) -> str:
    """The path of `route`; that of a prefix without its trailing slash."""
    return route.path if route.match == "exact" else route.path.rstrip("/") or "/"


def has_placeholders(path: str) -> bool:
    """Whether `path` has a placeholder."""
    return "{" in path


def nameless(path: str) -> str:
    """`path` without the names of its placeholders, which make no difference."""
    return _PLACEHOLDER.sub("{}", path)


def example_of(path: str) -> str:
    """A path that `path` matches."""
    return _PLACEHOLDER.sub(MADE_UP, path)


def before_placeholders(path: str) -> str:
    """The part of `path` that is the same for all requests: its segments before a placeholder."""
    return path.partition("/{")[0] or "/" if has_placeholders(path) else path


def pattern_of(path: str, *, segment: str = _SEGMENT) -> str:
    """A pattern, without anchors, of the paths that `path` matches."""
    if not has_placeholders(path):
        return escaped(path)
    return segment.join(map(escaped, _PLACEHOLDER.split(path)))


def escaped(text: str) -> str:
    """`text` escaped for regular expressions; `-` and `/` are left readable."""
    return re.sub(r"([.^$*+?()\[\]{}|\\])", r"\\\1", text)


def serves(route: Route, path: str) -> bool:
    """Whether `route` matches a request for `path`, which has no query."""
    return rest_of(route, path) is not None


def rest_of(route: Route, path: str) -> str | None:
    """What follows the route's path in `path`; `None` if the route does not match."""
    own = path_of(route)
    if not has_placeholders(own):
        if path == own:
            return ""
        bare = own.rstrip("/")
        inside = route.match == "prefix" and path.startswith(f"{bare}/")
        return path[len(bare) :] if inside else None
    found = _compiled(own).match(path)
    if found is None or (route.match == "exact" and found.end() < len(path)):
        return None
    return path[found.end() :]


@lru_cache(maxsize=256)
def _compiled(path: str) -> re.Pattern[str]:
    return re.compile(f"{pattern_of(path, segment='[^/?]+')}(?=/|$)")


def serving(routes: Iterable[Route], path: str) -> Route | None:
    """The one of `routes` that serves `path`, which has no query."""
    return min((route for route in routes if serves(route, path)), key=_rank, default=None)


def ordered(routes: Iterable[Route]) -> list[Route]:
    """The routes in the order in which the first match serves a request."""
    every = list(routes)
    if any(has_placeholders(route.path) for route in every):
        return sorted(every, key=_rank)
    return sorted(every, key=lambda route: (-len(path_of(route)), route.match != "exact"))


def _rank(route: Route) -> tuple[int, list[bool], bool]:
    segments = path_of(route).split("/") if path_of(route) != "/" else [""]
    return -len(segments), [has_placeholders(each) for each in segments], route.match != "exact"
