"""Convert a rendered ``sites:`` entry to a `Site`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, cast

from deployer.errors import SourceError
from deployer.model import Proxy, SourceRef, Value
from deployer.playbook.load.library import Library
from deployer.playbook.render.access import access_of, check_access, own_routes
from deployer.playbook.schema.keys import CheckModel, Pattern, ProbeModel, RouteModel, SiteModel
from deployer.playbook.schema.route_settings import RequestHeadersModel, ResponseHeadersModel
from deployer.playbook.schema.tls import AcmeModel, DnsModel
from deployer.playbook.schema.upstream_settings import HealthModel
from deployer.playbook.schema.validate import validate
from deployer.playbook.schema.values import ip_address
from deployer.playbook.yaml.source import Problems, Spot, YamlMap, nearest, spot_of, value_at
from deployer.sites.model import (
    Check,
    Dns,
    Eab,
    Headers,
    Health,
    Redirect,
    Route,
    Site,
    Tls,
    Upstream,
)
from deployer.sites.paths import nameless, serving


def _upstreams(
    model: RouteModel, spot: Spot, library: Library, problems: Problems
) -> tuple[Upstream, ...]:
    found = model.websocket or model.upstream or ()
    if all(each.verify != "file" for each in found):
        return found
    from deployer.playbook.render.trusted_cas import with_cas

    return with_cas(found, spot, library, problems)


def to_site(
    node: YamlMap, library: Library, problems: Problems, *, is_secret: Callable[[], bool]
) -> Site | None:
    """The site of a rendered mapping, or `None` with its errors added to `problems`."""
    model = validate(SiteModel, node, problems, rendered=True, is_secret=is_secret)
    if model is None:
        return None
    if model.state == "absent":
        names = tuple(alias.name for alias in model.aliases)
        return Site(domain=model.domain, aliases=names, source=spot_of(node).ref)
    routes = tuple(
        _route(model, number, node["routes"], library, problems)
        for number in range(len(model.routes))
    )
    _check_routes(routes, node, problems)
    _check_probes(routes, node, problems)
    check_access(routes, node, problems)
    _check_upstreams(routes, node, problems)
    _check_names(model, node, problems)
    _check_balancers(model, node, problems)
    _check_port(model, node, problems)
    _check_echo(model, routes, node, problems)
    checks = tuple(
        _check(check, node, number, routes, problems) for number, check in enumerate(model.verify)
    )
    try:
        tls = _tls(model, node, library)
    except SourceError as error:
        problems.add(error)
        return None
    site = Site(
        domain=model.domain,
        aliases=tuple(alias.name for alias in model.aliases),
        redirects=_redirecting(model),
        port=model.port,
        is_default=model.default,
        proxy=cast(Proxy, model.proxy),
        tls=tls,
        routes=(*routes, *own_routes(model, routes, at=spot_of(node).ref)),
        verify=checks,
        drain_s=None if model.drain == "none" else float(model.drain),
        max_body_bytes=_bytes(model.max_body),
        echo=model.echo,
        require_survival=model.require_survival,
        displaces=_displaced(model),
        snippets=tuple((model.snippets or {}).get(model.proxy, {}).items()),
        trusted_proxies=model.trusted_proxies,
        proxy_protocol=model.proxy_protocol,
        underscores_in_headers=model.underscores_in_headers,
        gzip=model.gzip,
        access_log=model.access_log,
        source=spot_of(node).ref,
        places=_places(node),
    )
    if not model.maintenance:
        return site
    from deployer.playbook.render.maintenance import in_maintenance

    return in_maintenance(site, model.maintenance, library, spot_of(node, "maintenance"), problems)


def _redirecting(model: SiteModel) -> tuple[tuple[str, str], ...]:
    return tuple((each.name, each.redirects_to) for each in model.aliases if each.redirects_to)


def _displaced(model: SiteModel) -> tuple[str, ...]:
    """The names that others may lose; a default site takes the place of one."""
    names = [*model.displaces, *(["default"] if model.default else [])]
    return tuple(dict.fromkeys(word.strip().lower() for word in names))


def _route(
    site: SiteModel, number: int, nodes: Value, library: Library, problems: Problems
) -> Route:
    model = site.routes[number]
    path = model.path
    if model.match == "prefix" and path != "/":
        path = path.rstrip("/")
    probe = (
        _to_check(model.probe, nodes, (number, "probe"), problems, path=model.probe.path or path)
        if isinstance(model.probe, ProbeModel)
        else None
    )
    return Route(
        path=path,
        match=model.match,
        websocket=model.websocket is not None,
        upstreams=_upstreams(model, spot_of(nodes, number), library, problems),
        root=model.root,
        index=model.index,
        spa=model.spa,
        redirect=_redirect(model),
        request_headers=_headers(site.request_headers, model.request_headers),
        response_headers=_headers(site.response_headers, model.response_headers),
        **access_of(site, model),
        snippet=(model.snippets or {}).get(site.proxy, ""),
        balance=model.balance,
        sticky=model.sticky is not None,
        health=_health(model.health),
        resolve_s=model.resolve,
        strip_prefix=model.strip_prefix,
        rewrite_location=model.rewrite_location,
        buffering=model.buffering,
        timeout_s=model.idle_timeout if "idle_timeout" in nodes[number] else model.timeout,
        max_body_bytes=None if model.max_body is None else _bytes(model.max_body) or 0,
        idle_timeout_s=model.idle_timeout,
        ping_interval_s=model.ping_interval,
        origins=model.origins,
        require_origin=model.require_origin,
        login=model.login,
        probe=probe,
        is_probed=model.probe is not False,
        source=spot_of(nodes, number).ref,
        places=_places(nodes[number]),
    )


def _health(model: HealthModel | None) -> Health | None:
    if model is None:
        return None
    return Health(
        fails=model.fails,
        pause_s=model.pause,
        statuses=model.statuses,
        path=model.path or "",
        interval_s=model.interval,
    )


def _redirect(model: RouteModel) -> Redirect | None:
    found = model.redirect
    return None if found is None else Redirect(to=found.to, code=found.code)


def _headers(
    of_site: RequestHeadersModel | ResponseHeadersModel | None,
    of_route: RequestHeadersModel | ResponseHeadersModel | None,
) -> Headers:
    """Those of the site and of the route, which override them."""
    given = [each for each in (of_site, of_route) if each is not None]
    changes: dict[str, tuple[str, str | None]] = {}
    for each in given:
        changes |= {name.lower(): (name, None) for name in each.remove}
        changes |= {name.lower(): (name, value) for name, value in each.set}
    return Headers(
        set=tuple((name, value) for name, value in changes.values() if value is not None),
        remove=tuple(name for name, value in changes.values() if value is None),
    )


def _bytes(size: Value) -> int | None:
    return None if size == "none" else int(size)


def _places(node: Value) -> dict[str, SourceRef]:
    """The position of each key's value; those of nested mappings as ``tls.issuer``."""
    found: dict[str, SourceRef] = {}
    if isinstance(node, YamlMap):
        for key, value in node.items():
            found[key] = spot_of(node, key).ref
            found |= {f"{key}.{each}": place for each, place in _places(value).items()}
    return found


def _check_routes(routes: tuple[Route, ...], node: YamlMap, problems: Problems) -> None:
    seen: dict[tuple[str, str], int] = {}
    for number, route in enumerate(routes):
        key = (nameless(route.path), route.match)
        if key in seen:
            problems.add(
                spot_of(node, "routes", number, "path").error(
                    f"two routes of '{node['domain']}' have the path '{route.path}'",
                    hint="the longest path wins, so all paths must be different"
                    if nameless(route.path) == route.path
                    else "the names of placeholders make no difference",
                )
            )
        seen.setdefault(key, number)
        target = route.redirect.to.partition("?")[0] if route.redirect else ""
        if target.startswith("/") and serving(routes, target) is route:
            problems.add(
                spot_of(node, "routes", number, "redirect").error(
                    f"'{route.path}' redirects to itself: its own route serves '{target}'",
                    hint="give the target a route of its own, or write match: exact",
                )
            )


def _check_probes(routes: tuple[Route, ...], node: YamlMap, problems: Problems) -> None:
    """Check that each probe's path is served by the route that it is for."""
    for number, route in enumerate(routes):
        path = route.probe.path.partition("?")[0] if route.probe else ""
        if not path:
            continue
        best = serving(routes, path)
        if best is not None and best is not route:
            problems.add(
                spot_of(node, "routes", number, "probe", "path").error(
                    f"'{path}' is served by the route '{best.path}', not by '{route.path}'",
                    hint=f"write it in the probe of '{best.path}'",
                )
            )
        elif best is None:
            problems.add(
                spot_of(node, "routes", number, "probe", "path").error(
                    f"the route '{route.path}' does not serve '{path}'",
                    hint=f"the path must start with {route.path}"
                    if route.match == "prefix"
                    else f"match: exact serves only {route.path}, with any query",
                )
            )


def _check_upstreams(routes: tuple[Route, ...], node: YamlMap, problems: Problems) -> None:
    for number, route in enumerate(routes):
        spot = spot_of(node, "routes", number)
        if route.upstreams and all(each.backup for each in route.upstreams):
            problems.add(spot.error(f"all upstreams of '{route.path}' are backups"))
        if route.resolve_s is not None and not any(map(_has_name, route.upstreams)):
            problems.add(
                spot_of(node, "routes", number, "resolve").error(
                    f"'resolve' requires an upstream with a name, and '{route.path}' has none"
                )
            )
        for key in ("balance", "sticky", "health"):
            if key in route.places and len(route.upstreams) == 1:
                problems.add(
                    spot_of(node, "routes", number, key).error(
                        f"'{key}' requires several upstreams, and '{route.path}' has one"
                    )
                )


def _check_port(model: SiteModel, node: YamlMap, problems: Problems) -> None:
    is_plain = model.tls is None or model.tls.issuer == "none"
    wrong = {443: is_plain, 80: not is_plain}.get(model.port or 0, False)
    if wrong:
        words = "443 requires 'tls'" if is_plain else "80 is for plain HTTP"
        problems.add(spot_of(node, "port").error(f"port {words}"))


def _has_name(upstream: Upstream) -> bool:
    return bool(upstream.host) and ip_address(upstream.host) is None


def _check_balancers(model: SiteModel, node: YamlMap, problems: Problems) -> None:
    if model.proxy_protocol and not model.trusted_proxies:
        problems.add(
            spot_of(node, "proxy_protocol").error(
                "'proxy_protocol' requires 'trusted_proxies', the addresses of the balancers",
                hint="a PROXY header of anyone else could state any address as the visitor's",
            )
        )


def _check_names(model: SiteModel, node: YamlMap, problems: Problems) -> None:
    seen = {model.domain}
    for number, alias in enumerate(model.aliases):
        if alias.name in seen:
            problems.add(
                spot_of(node, "aliases", number).error(f"the name '{alias.name}' is listed twice")
            )
        seen.add(alias.name)
    redirecting = {alias.name for alias in model.aliases if alias.redirects_to}
    for number, alias in enumerate(model.aliases):
        target = alias.redirects_to
        if target is None:
            continue
        spot = spot_of(node, "aliases", number, "redirects_to")
        if "*" in alias.name or "*" in target:
            problems.add(spot.error("only a name without '*' redirects, and to such a name"))
        elif target not in seen - redirecting:
            known = ", ".join(sorted(seen - redirecting))
            hint = f"names that the site serves: {known}"
            problems.add(spot.error(f"'{target}' is no name that this site serves", hint=hint))


def _check_echo(
    model: SiteModel, routes: tuple[Route, ...], node: YamlMap, problems: Problems
) -> None:
    if model.echo is None:
        return
    path = model.echo.partition("?")[0]
    best = serving(routes, path)
    if best is None or not best.upstreams:
        known = [route.path for route in routes if route.upstreams]
        problems.add(
            spot_of(node, "echo").error(
                f"'{path}' of '{node['domain']}' has no service, so nothing repeats the headers",
                hint=f"routes to services: {', '.join(known) or 'none'}",
            )
        )


def _check(
    model: CheckModel, node: YamlMap, number: int, routes: tuple[Route, ...], problems: Problems
) -> Check:
    path = model.path.partition("?")[0]
    best = serving(routes, path)
    if best is None or not best.websocket:
        known = [route.path for route in routes if route.websocket]
        hint = nearest(path, known) or f"websocket routes: {', '.join(known) or 'none'}"
        problems.add(
            spot_of(node, "verify", number, "path").error(
                f"no websocket route of '{node['domain']}' serves '{path}'", hint=hint
            )
        )
    entry = _to_check(model, node, ("verify", number), problems, path=model.path)
    return replace(entry, hold_s=model.hold)


def _to_check(
    model: ProbeModel, node: Value, place: tuple[Value, ...], problems: Problems, *, path: str
) -> Check:
    """The check at `place` below `node`."""
    pattern = model.expect.regex if isinstance(model.expect, Pattern) else None
    if pattern is not None:
        try:
            re.compile(pattern)
        except re.error as error:
            problems.add(
                spot_of(node, *place, "expect", "regex").error(f"not a regular expression: {error}")
            )
    return Check(
        path=path,
        origin=model.origin,
        subprotocols=model.subprotocols,
        headers=model.headers,
        send=model.send,
        expect=pattern if pattern is not None else cast("str | None", model.expect),
        expect_is_regex=pattern is not None,
        statuses=model.status,
        source=spot_of(node, *place).ref,
        places=_places(value_at(node, place)),
    )


def _tls(model: SiteModel, node: YamlMap, library: Library) -> Tls:
    tls = model.tls
    if tls is None:
        return Tls()
    acme = tls.issuer if isinstance(tls.issuer, AcmeModel) else None

    def file(value: str | None, *place: str) -> str | None:
        if value is None:
            return None
        spot = spot_of(node, "tls", *place)
        return str(library.find_file(value, "files", None, spot).resolve())

    found = Tls(
        issuer=acme.directory if acme else str(tls.issuer),
        email=tls.email,
        hsts_s=None if tls.hsts is None else int(tls.hsts),
        ca_bundle=file(acme.ca_bundle, "issuer", "ca_bundle")
        if acme
        else file(tls.ca_bundle, "ca_bundle"),
        certificate=file(tls.certificate, "certificate"),
        key=file(tls.key, "key"),
        certbot=tls.certbot,
        challenge=tls.challenge,
        dns=None
        if tls.dns is None
        else _dns(tls.dns, file(tls.dns.credentials, "dns", "credentials")),
        profile=tls.profile,
        key_type=tls.key_type,
        ari=tls.ari,
        eab=Eab(kid=acme.eab.kid, hmac_key=acme.eab.hmac_key) if acme and acme.eab else None,
        limits=_limits(tls.issuer),
    )
    if tls.client_certificates is not None:
        from deployer.playbook.render.clients import to_clients

        found = replace(found, clients=to_clients(tls.client_certificates, node, library))
    if acme is not None or tls.issuer in ("letsencrypt", "letsencrypt-staging"):
        _check_acme(found, (model.domain, *(alias.name for alias in model.aliases)), node)
    return found


def _dns(model: DnsModel, credentials: str | None) -> Dns:
    return Dns(
        plugin=model.plugin,
        credentials=credentials,
        propagation_s=max(1, round(model.propagation)),
    )


def _limits(issuer: str | AcmeModel) -> Literal["letsencrypt", "none"]:
    if isinstance(issuer, AcmeModel):
        return issuer.limits
    return "letsencrypt" if issuer.startswith("letsencrypt") else "none"


#: The most names in one certificate of Let's Encrypt: https://letsencrypt.org/docs/profiles/
_MOST_NAMES = {"classic": 100, "tlsserver": 25, "shortlived": 25}


def _check_acme(tls: Tls, names: tuple[str, ...], node: YamlMap) -> None:
    """Check that a CA can issue the certificate with these settings.

    Raises:
        SourceError: it cannot.
    """
    spot = spot_of(node, "tls")
    wildcards = [name for name in names if name.startswith("*.")]
    addresses = [name for name in names if ip_address(name) is not None]
    if wildcards and tls.challenge != "dns-01":
        raise spot.error(
            f"a certificate for {wildcards[0]} requires challenge: dns-01",
            hint="wildcards are validated by DNS: challenge: dns-01, dns: {plugin: …}",
        )
    if addresses and tls.challenge == "dns-01":
        raise spot.error(
            f"{addresses[0]} is an address, which cannot be validated by DNS",
            hint="remove challenge: dns-01",
        )
    is_public = tls.issuer.startswith("letsencrypt")
    if addresses and is_public and tls.profile != "shortlived":
        raise spot.error(
            f"Let's Encrypt certifies addresses such as {addresses[0]} only for six days",
            hint="add profile: shortlived",
        )
    most = _MOST_NAMES[tls.profile or "classic"]
    if is_public and len(names) > most:
        raise spot.error(
            f"the site has {len(names)} names; Let's Encrypt certificates have at most {most}",
            hint="split the site, or use a wildcard",
        )
