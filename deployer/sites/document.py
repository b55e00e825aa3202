"""Sites as JSON, which hosts store with each generation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from deployer.model import Document
from deployer.sites.model import (
    AuthRequest,
    Check,
    Clients,
    Dns,
    Health,
    Redirect,
    Route,
    Site,
    Tls,
    Upstream,
)

#: What only the proxy needs of a route; some of it is secret.
_OF_PROXY = (
    *("request_headers", "response_headers", "users", "request_rate", "handshake_rate"),
    *("snippet", "cors"),
)


def sites_to_json(sites: Iterable[Site]) -> list[dict[str, object]]:
    """The sites as JSON, without their positions in the playbook and without secrets."""
    return [_without_sources(asdict(site)) for site in sites]


def sites_from_json(documents: Iterable[Document]) -> tuple[Site, ...]:
    """The sites in a document of `sites_to_json`."""
    return tuple(_site(document) for document in documents)


def _without_sources(document: dict[str, Any]) -> dict[str, object]:
    del document["tls"]["eab"]
    probes = [route["probe"] for route in document["routes"] if route["probe"]]
    for part in (document, *document["routes"], *document["verify"], *probes):
        del part["source"], part["places"]
    del document["snippets"], document["maintenance_page"]
    for route in document["routes"]:
        for key in _OF_PROXY:
            del route[key]
    return document


def _site(document: Document) -> Site:
    return Site(
        **{
            **document,
            "aliases": tuple(document["aliases"]),
            "displaces": tuple(document.get("displaces", ())),
            "trusted_proxies": tuple(document.get("trusted_proxies", ())),
            "redirects": tuple((name, to) for name, to in document.get("redirects", ())),
            "tls": _tls(document["tls"]),
            "routes": tuple(map(_route, document["routes"])),
            "verify": tuple(map(_check, document["verify"])),
        }
    )


def _tls(document: Document) -> Tls:
    dns = document.get("dns")
    clients = document.get("clients")
    return Tls(
        **{
            **document,
            "dns": Dns(**dns) if dns else None,
            "clients": Clients(**clients) if clients else None,
        }
    )


def _route(document: Document) -> Route:
    origins, redirect = document["origins"], document.get("redirect")
    probe, auth = document.get("probe"), document.get("auth")
    return Route(
        **{
            **document,
            "probe": _check(probe) if probe else None,
            "upstreams": tuple(Upstream(**upstream) for upstream in document["upstreams"]),
            "origins": None if origins is None else tuple(origins),
            "allow": tuple(document.get("allow", ())),
            "deny": tuple(document.get("deny", ())),
            "redirect": Redirect(**redirect) if redirect else None,
            "auth": AuthRequest(**{**auth, "headers": tuple(auth["headers"])}) if auth else None,
            "health": _health(document.get("health")),
        }
    )


def _health(document: Document | None) -> Health | None:
    if not document:
        return None
    return Health(**{**document, "statuses": tuple(document.get("statuses", ()))})


def _check(document: Document) -> Check:
    lists = {
        "subprotocols": tuple(document["subprotocols"]),
        "headers": tuple((name, value) for name, value in document.get("headers", ())),
        "statuses": tuple(document.get("statuses", (101,))),
    }
    return Check(**{**document, **lists})
