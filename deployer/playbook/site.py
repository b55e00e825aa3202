"""A rendered ``sites:`` entry turned into the `Site` that the rest of the program works with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from deployer.errors import SourceError
from deployer.model import Check, Proxy, Route, Site, Tls
from deployer.playbook.library import Library
from deployer.playbook.schema import CheckModel, Pattern, RouteModel, SiteModel
from deployer.playbook.source import Problems, YamlMap, nearest, spot_of
from deployer.playbook.validate import validate


def to_site(
    node: YamlMap, library: Library, problems: Problems, *, is_secret: Callable[[], bool]
) -> Site | None:
    """The site of a rendered mapping, or `None` with its errors added to `problems`."""
    model = validate(SiteModel, node, problems, rendered=True, is_secret=is_secret)
    if model is None:
        return None
    routes = tuple(
        _route(route, node["routes"], number) for number, route in enumerate(model.routes)
    )
    _check_routes(routes, node, problems)
    _check_names(model, node, problems)
    checks = tuple(
        _check(check, node, number, routes, problems) for number, check in enumerate(model.verify)
    )
    try:
        tls = _tls(model, node, library)
    except SourceError as error:
        problems.add(error)
        return None
    return Site(
        domain=model.domain,
        aliases=tuple(model.aliases),
        proxy=cast(Proxy, model.proxy),
        tls=tls,
        routes=routes,
        verify=checks,
        source=spot_of(node).ref,
    )


def _route(model: RouteModel, nodes: Any, number: int) -> Route:
    path = model.path
    if model.match == "prefix" and path != "/":
        path = path.rstrip("/")
    return Route(
        path=path,
        match=model.match,
        websocket=model.websocket is not None,
        upstreams=model.websocket or model.upstream or (),
        root=model.root,
        strip_prefix=model.strip_prefix,
        idle_timeout_s=model.idle_timeout,
        ping_interval_s=model.ping_interval,
        origins=model.origins,
        require_origin=model.require_origin,
        source=spot_of(nodes, number).ref,
    )


def _check_routes(routes: tuple[Route, ...], node: YamlMap, problems: Problems) -> None:
    seen: dict[tuple[str, str], int] = {}
    for number, route in enumerate(routes):
        key = (route.path, route.match)
        if key in seen:
            problems.add(
                spot_of(node, "routes", number, "path").error(
                    f"two routes of '{node['domain']}' have the path '{route.path}'",
                    hint="the longest path wins, so each one must be another",
                )
            )
        seen.setdefault(key, number)


def _check_names(model: SiteModel, node: YamlMap, problems: Problems) -> None:
    seen = {model.domain}
    for number, alias in enumerate(model.aliases):
        if alias in seen:
            problems.add(
                spot_of(node, "aliases", number).error(f"the name '{alias}' is there twice")
            )
        seen.add(alias)


def serves(route: Route, path: str) -> bool:
    """Whether a request for `path` matches a route; the longest match then wins."""
    if route.match == "exact" or path == route.path or route.path == "/":
        return path == route.path or (route.match == "prefix" and route.path == "/")
    return path.startswith(route.path + "/")


def _check(
    model: CheckModel, node: YamlMap, number: int, routes: tuple[Route, ...], problems: Problems
) -> Check:
    path = model.path.partition("?")[0]
    serving = [route for route in routes if serves(route, path)]
    best = max(serving, key=lambda route: (len(route.path), route.match == "exact"), default=None)
    if best is None or not best.websocket:
        known = [route.path for route in routes if route.websocket]
        hint = nearest(path, known) or f"websocket routes: {', '.join(known) or 'none'}"
        problems.add(
            spot_of(node, "verify", number, "path").error(
                f"no websocket route of '{node['domain']}' serves '{path}'", hint=hint
            )
        )
    pattern = model.expect.regex if isinstance(model.expect, Pattern) else None
    if pattern is not None:
        import re

        try:
            re.compile(pattern)
        except re.error as error:
            problems.add(
                spot_of(node, "verify", number, "expect", "regex").error(
                    f"not a regular expression: {error}"
                )
            )
    return Check(
        path=model.path,
        origin=model.origin,
        subprotocols=model.subprotocols,
        send=model.send,
        expect=pattern if pattern is not None else cast("str | None", model.expect),
        expect_is_regex=pattern is not None,
        hold_s=model.hold,
        source=spot_of(node, "verify", number).ref,
    )


def _tls(model: SiteModel, node: YamlMap, library: Library) -> Tls:
    tls = model.tls
    if tls is None:
        return Tls()
    files: dict[str, str | None] = {"certificate": tls.certificate, "key": tls.key}
    for name, value in files.items():
        if value is not None:
            spot = spot_of(node, "tls", name)
            files[name] = str(library.find_file(value, "files", None, spot).resolve())
    return Tls(
        issuer=tls.issuer,
        email=tls.email,
        hsts_s=None if tls.hsts is None else int(tls.hsts),
        certificate=files["certificate"],
        key=files["key"],
    )
