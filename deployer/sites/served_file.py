"""A site as a file on its host, which holds what a proxy serves of it and nothing else.

Several playbooks may have sites behind a proxy with a single configuration file. The one that
writes that file finds the others' sites here. A value that is the default is left out, so that a
later version of deployer can add some.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields, replace
from typing import Any, get_args

from deployer.errors import UsageError
from deployer.model import Proxy
from deployer.sites.model import (
    AuthRequest,
    Clients,
    Cors,
    Headers,
    Health,
    Rate,
    Redirect,
    Route,
    Site,
    Tls,
    Upstream,
)

_NOTE = "deployer wrote this file: change the playbook instead"

_Check = Callable[[Any], bool]


def _is(*types: type) -> _Check:
    """A value of one of the types; in Python, a boolean is also a number."""
    return lambda value: isinstance(value, types) and (bool in types or not isinstance(value, bool))


def _one_of(*words: str) -> _Check:
    return lambda value: value in words


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _pairs(value: Any) -> bool:
    return isinstance(value, list) and all(_texts(each) and len(each) == 2 for each in value)


def _has(value: Any, known: Mapping[str, _Check]) -> bool:
    """Whether it is a mapping with some of these keys."""
    _checked(value, known)
    return True


_NONE = type(None)
_RATE: Mapping[str, _Check] = {"count": _is(int), "seconds": _is(int)}
_CORS: Mapping[str, _Check] = {
    **dict.fromkeys(("origins", "methods", "headers", "expose"), _texts),
    "credentials": _is(bool),
    "max_age_s": _is(int),
}
_HEALTH: Mapping[str, _Check] = {
    "fails": _is(int),
    "pause_s": _is(int, float),
    "statuses": lambda value: isinstance(value, list) and all(map(_is(int), value)),
    "path": _is(str),
    "interval_s": _is(int, float),
}
_HEADERS: Mapping[str, _Check] = {"set": _pairs, "remove": _texts}
_UPSTREAM: Mapping[str, _Check] = {
    "host": _is(str),
    "port": _is(int),
    "socket": _is(str),
    "tls": _is(bool),
    "weight": _is(int),
    "backup": _is(bool),
    "max_conns": _is(int, _NONE),
    "verify": _one_of("", "system", "file"),
    "sni": _is(str),
    "send_proxy": _one_of("", "v1", "v2"),
    "drained": _is(bool),
}
_AUTH: Mapping[str, _Check] = {
    "host": _is(str),
    "port": _is(int),
    "tls": _is(bool),
    "path": _is(str),
    "headers": _texts,
    "sign_in": _is(str, _NONE),
}
_ROUTE: Mapping[str, _Check] = {
    "path": _is(str),
    "match": _one_of("prefix", "exact"),
    "websocket": _is(bool),
    "upstreams": _is(list),
    "root": _is(str, _NONE),
    "balance": _one_of("source", "round_robin", "least_conn"),
    "sticky": _is(bool),
    "health": lambda value: _has(value, _HEALTH),
    "resolve_s": _is(int, float, _NONE),
    "index": _is(str),
    "snippet": _is(str),
    "allow": _texts,
    "deny": _texts,
    "users": _pairs,
    "request_rate": lambda value: _has(value, _RATE),
    "handshake_rate": lambda value: _has(value, _RATE),
    "cors": lambda value: _has(value, _CORS),
    "auth": lambda value: _has(value, _AUTH),
    "spa": _is(bool),
    "redirect": lambda value: _has(value, {"to": _is(str), "code": _is(int)}),
    "request_headers": lambda value: _has(value, _HEADERS),
    "response_headers": lambda value: _has(value, _HEADERS),
    "strip_prefix": _is(bool),
    "rewrite_location": _is(bool),
    "buffering": _is(bool),
    "timeout_s": _is(int, float),
    "max_body_bytes": _is(int, _NONE),
    "idle_timeout_s": _is(int, float),
    "origins": lambda value: value is None or _texts(value),
    "require_origin": _is(bool),
}
#: Not the CAs: their file is on the host.
_CLIENTS: Mapping[str, _Check] = {"verify": _one_of("required", "optional")}
_TLS: Mapping[str, _Check] = {
    "issuer": _is(str),
    "hsts_s": _is(int, _NONE),
    "challenge": _one_of("http-01", "dns-01"),
    "clients": lambda value: _has(value, _CLIENTS),
}
_SITE: Mapping[str, _Check] = {
    "domain": _is(str),
    "aliases": _texts,
    "port": _is(int, _NONE),
    "is_default": _is(bool),
    "proxy": _one_of(*get_args(Proxy)),
    "tls": _is(dict),
    "routes": _is(list),
    "drain_s": _is(int, float, _NONE),
    "max_body_bytes": _is(int, _NONE),
    "underscores_in_headers": _is(bool),
    "gzip": _is(bool),
    "access_log": _one_of("usual", "json"),
    "maintenance": _is(bool),
    "maintenance_page": _is(str),
    "redirects": _pairs,
    "trusted_proxies": _texts,
    "proxy_protocol": _is(bool),
    "snippets": _pairs,
}


def served_part(site: Site) -> Site:
    """`site` without what only its verification and the order of its certificate need."""
    return site_of(text_of(site))


def text_of(site: Site) -> str:
    """The content of the site's file."""
    clients = site.tls.clients
    document = {
        **_set_values(site, _SITE),
        "tls": {
            **_set_values(replace(site.tls, clients=None), _TLS),
            **({"clients": {"verify": clients.verify}} if clients else {}),
        },
        "routes": [
            {
                **_set_values(route, _ROUTE),
                "upstreams": [_set_values(upstream, _UPSTREAM) for upstream in route.upstreams],
            }
            for route in site.routes
        ],
    }
    return json.dumps({"note": _NOTE, "site": document}, indent=2, sort_keys=True) + "\n"


def site_of(text: str) -> Site:
    """The site in a file of `text_of`.

    Raises:
        ValueError: it is not such a file, or has a value that this version does not know.
    """
    try:
        document = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    site = _checked(_checked(document, {"note": _is(str), "site": _is(dict)}).get("site"), _SITE)
    try:
        return Site(
            **{
                **site,
                "aliases": tuple(site.get("aliases", ())),
                "redirects": _to_pairs(site.get("redirects", ())),
                "snippets": _to_pairs(site.get("snippets", ())),
                "trusted_proxies": tuple(site.get("trusted_proxies", ())),
                "tls": _tls(_checked(site.get("tls", {}), _TLS)),
                "routes": tuple(map(_route, site.get("routes", ()))),
            }
        )
    except TypeError as error:
        raise ValueError(str(error)) from None


def sites_in(files: Mapping[str, str]) -> dict[str, Site]:
    """The site of each file, by the file's path.

    Raises:
        UsageError: a file cannot be read.
    """
    found = {}
    for path, text in files.items():
        try:
            found[path] = site_of(text)
        except ValueError as error:
            raise UsageError(
                f"{path} is not a site that this version of deployer knows: {error}",
                hint="Nothing was changed. If a newer version wrote it, use that one. Otherwise "
                "move the file away, and apply the playbook of that site again.",
            ) from None
    return found


def _tls(document: Mapping[str, Any]) -> Tls:
    clients = document.get("clients")
    return Tls(**{**document, "clients": Clients(**clients) if clients else None})


def _route(document: object) -> Route:
    route = _checked(document, _ROUTE)
    origins = route.get("origins")
    return Route(
        **{
            **route,
            "upstreams": tuple(
                Upstream(**_checked(each, _UPSTREAM)) for each in route.get("upstreams", ())
            ),
            "origins": None if origins is None else tuple(origins),
            "allow": tuple(route.get("allow", ())),
            "deny": tuple(route.get("deny", ())),
            "users": _to_pairs(route.get("users", ())),
            "health": Health(**_tuples(route["health"])) if "health" in route else None,
            "request_rate": Rate(**route["request_rate"]) if "request_rate" in route else None,
            "handshake_rate": Rate(**route["handshake_rate"])
            if "handshake_rate" in route
            else None,
            "cors": Cors(**_tuples(route["cors"])) if "cors" in route else None,
            "auth": AuthRequest(**_tuples(route["auth"])) if "auth" in route else None,
            "redirect": Redirect(**route["redirect"]) if "redirect" in route else None,
            "request_headers": _headers(route.get("request_headers", {})),
            "response_headers": _headers(route.get("response_headers", {})),
        }
    )


def _headers(document: Mapping[str, Any]) -> Headers:
    return Headers(set=_to_pairs(document.get("set", ())), remove=tuple(document.get("remove", ())))


def _tuples(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
    }


def _to_pairs(values: Iterable[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in values)


_NESTED = (AuthRequest, Cors, Headers, Health, Rate, Redirect)


def _set_values(part: Site | Tls | Route | Upstream, known: Mapping[str, object]) -> dict[str, Any]:
    """The values that are not the default."""
    return {
        field.name: asdict(value) if isinstance(value, _NESTED) else value
        for field in fields(part)
        if field.name in known and (value := getattr(part, field.name)) != field.default
    }


def _checked(document: object, known: Mapping[str, _Check]) -> dict[str, Any]:
    """`document`, if it is a mapping with known keys and values of their types.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(document, dict):
        raise ValueError("a mapping is missing")
    for key, value in document.items():
        if key not in known:
            raise ValueError(f"the key {key!r} is unknown")
        if not known[key](value):
            raise ValueError(f"{key!r} cannot be {str(value)[:80]!r}")
    return document
