"""The routes of a site with what Apache's configuration needs to know about their paths."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.sites.model import Route
from deployer.sites.paths import has_placeholders, path_of, pattern_of


@dataclass(frozen=True, slots=True)
class Named:
    """A route and its slug."""

    route: Route
    slug: str

    @property
    def path(self) -> str:
        return path_of(self.route)

    @property
    def is_granted(self) -> bool:
        """Whether its location admits everyone, and so do the locations within it."""
        return self.path == "/" and bool(self.route.upstreams)

    def covers(self, other: Named) -> bool:
        """Whether a location for this path also covers the path of the `other`."""
        if has_placeholders(self.path + other.path):
            return _overlap(self, other)
        if self.route.match == "exact":
            return False
        return self.path == "/" or f"{other.path}/".startswith(f"{self.path}/")


def _overlap(one: Named, other: Named) -> bool:
    """Whether a path of the `other` may match `one`, too."""
    mine, others = one.path.rstrip("/").split("/"), other.path.rstrip("/").split("/")
    if len(mine) > len(others) or (one.route.match == "exact" and len(mine) < len(others)):
        return False
    return all(a == b or has_placeholders(a + b) for a, b in zip(mine, others, strict=False))


def pattern(path: str) -> str:
    """The pattern of a path, in which Apache leaves %2F as it is: a slash for the other proxies."""
    return pattern_of(path, segment="(?:(?!%2[Ff])[^/])+")
