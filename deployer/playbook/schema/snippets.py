"""Snippets of a proxy's configuration, which are checked by its own module."""

from __future__ import annotations

from collections.abc import Mapping

from deployer.model import Value
from deployer.playbook.schema.values import InvalidValue
from deployer.playbook.yaml.source import nearest
from deployer.proxies import PROXIES, ProxyServer
from deployer.proxies.snippets import SnippetError

#: The text of a snippet by proxy, or by proxy and place.
OfRoutes = Mapping[str, str]
OfSites = Mapping[str, Mapping[str, str]]


def _by_proxy(value: Value) -> Mapping[str, Value]:
    if not isinstance(value, Mapping) or not value:
        raise InvalidValue("(not shown)", "a mapping of snippets", "write {PROXY: …}")
    for name in value:
        if name not in PROXIES:
            raise InvalidValue(name, "a proxy", nearest(str(name), PROXIES))
    return value


def _text(value: Value, *, place: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidValue("(not shown)", f"a snippet for {place}", "write it as a text: |")
    return value.strip("\n").rstrip() + "\n"


def _checked(proxy: ProxyServer, value: Value, *, place: str) -> str:
    text = _text(value, place=place)
    try:
        proxy.snippets.check(text)
    except SnippetError as error:
        raise InvalidValue(
            "(not shown)", f"a snippet for {place} of {proxy.title}", str(error)
        ) from None
    return text


def of_routes(value: Value) -> OfRoutes:
    """Checked snippets of a route by proxy."""
    return {
        name: _checked(PROXIES[name], text, place=PROXIES[name].snippets.OF_ROUTES)  # type: ignore[index]
        for name, text in _by_proxy(value).items()
    }


def of_sites(value: Value) -> OfSites:
    """Checked snippets of a site by proxy and place."""
    found: dict[str, dict[str, str]] = {}
    for name, places in _by_proxy(value).items():
        proxy = PROXIES[name]  # type: ignore[index]
        known = proxy.snippets.PLACES
        if not known:
            why = f"write it on routes, for their {proxy.snippets.OF_ROUTES}"
            raise InvalidValue(name, "a proxy with a place for the snippets of a site", why)
        if not isinstance(places, Mapping):
            raise InvalidValue(
                "(not shown)", "a mapping of snippets", f"places: {', '.join(known)}"
            )
        for place in places:
            if place not in known:
                near = nearest(str(place), known) or f"use one of {', '.join(known)}"
                raise InvalidValue(place, f"a place for snippets of {proxy.title}", near)
        found[name] = {
            place: _checked(proxy, text, place=known[place]) for place, text in places.items()
        }
    return found
