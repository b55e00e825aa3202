"""Who may use a route, as its own keys and those of its site say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict

from deployer.model import SourceRef
from deployer.playbook.schema.auth_request import AuthRequestModel
from deployer.playbook.schema.cors import CorsModel
from deployer.playbook.schema.keys import RouteModel, SiteModel
from deployer.playbook.schema.route_settings import BasicAuthModel
from deployer.playbook.yaml.source import Problems, YamlMap, spot_of
from deployer.sites.model import AuthRequest, Cors, Rate, Route, Upstream


class Access(TypedDict, total=False):
    allow: tuple[str, ...]
    deny: tuple[str, ...]
    users: tuple[tuple[str, str], ...]
    request_rate: Rate | None
    handshake_rate: Rate | None
    cors: Cors | None
    auth: AuthRequest | None


def access_of(site: SiteModel, model: RouteModel) -> Access:
    if model.redirect is not None:
        return {}
    rates = model.rate_limit
    asked, auth = _login(site, model)
    return {
        "allow": site.allow if model.allow is None else model.allow,
        "deny": site.deny if model.deny is None else model.deny,
        "users": auth.users if auth else (),
        "request_rate": rates.requests if rates else None,
        "handshake_rate": rates.handshakes if rates else None,
        "auth": asked,
        "cors": _cors(model.cors or site.cors) if model.websocket is None else None,
    }


def _login(site: SiteModel, model: RouteModel) -> tuple[AuthRequest | None, BasicAuthModel | None]:
    """How a route's clients log in: its own way, or else the site's."""
    if model.basic_auth is not None or model.auth_request:
        return _asked(model.auth_request), model.basic_auth
    return _asked(site.auth_request) if model.auth_request is None else None, site.basic_auth


def _asked(model: bool | AuthRequestModel | None) -> AuthRequest | None:
    if not isinstance(model, AuthRequestModel):
        return None
    from deployer.sites.auth_services import AUTH_SERVICES, NO_PRESET

    known = AUTH_SERVICES.get(model.preset or "", NO_PRESET)
    service, path = model.url or (Upstream(host="127.0.0.1", port=known.port), "")
    return AuthRequest(
        host=service.host,
        port=service.port,
        tls=service.tls,
        path=path if path.strip("/") else known.path,
        headers=known.headers if model.headers is None else model.headers,
        sign_in=model.sign_in or known.sign_in,
    )


def _cors(model: CorsModel | None) -> Cors | None:
    if model is None:
        return None
    return Cors(
        origins=model.origins,
        methods=model.methods,
        headers=model.headers,
        expose=model.expose,
        credentials=model.credentials,
        max_age_s=int(model.max_age),
    )


def own_routes(site: SiteModel, routes: tuple[Route, ...], *, at: SourceRef) -> Iterator[Route]:
    """The routes to the login pages of authentication services, unless the playbook has them."""
    taken = {route.path for route in routes}
    for model in (site.auth_request, *(each.auth_request for each in site.routes)):
        if not isinstance(model, AuthRequestModel) or model.preset is None:
            continue
        from deployer.sites.auth_services import AUTH_SERVICES

        own, asked = AUTH_SERVICES[model.preset].own, _asked(model)
        if own is not None and asked is not None and own not in taken:
            taken.add(own)
            yield Route(path=own, upstreams=(asked.service,), source=at)


def check_access(routes: tuple[Route, ...], node: YamlMap, problems: Problems) -> None:
    """Check that checks have the passwords that they need, and that settings do not conflict."""
    _check_credentials(routes, node, problems)
    _check_cors(routes, node, problems)
    _check_identity(routes, node, problems)


def _check_credentials(routes: tuple[Route, ...], node: YamlMap, problems: Problems) -> None:
    for number, route in enumerate(routes):
        sent = {name.lower() for name, _ in route.probe.headers} if route.probe else set()
        if route.users and route.websocket and route.is_probed and "authorization" not in sent:
            problems.add(
                spot_of(node, "routes", number).error(
                    f"the checks of '{route.path}' have no password, and would get 401",
                    hint='write probe: {headers: {Authorization: "Basic '
                    "{{ ('NAME:' ~ password) | b64encode }}\"}}, or probe: false",
                )
            )


def _check_cors(routes: tuple[Route, ...], node: YamlMap, problems: Problems) -> None:
    """Check that the headers of `cors` are not also set or removed."""
    for number, route in enumerate(routes):
        changed = [name for name, _ in route.response_headers.set]
        for name in (*changed, *route.response_headers.remove) if route.cors else ():
            if name.lower().startswith("access-control-"):
                problems.add(
                    spot_of(node, "routes", number).error(
                        f"'{route.path}' has 'cors', which sets {name}",
                        hint="remove it from response_headers",
                    )
                )


def _check_identity(routes: tuple[Route, ...], node: YamlMap, problems: Problems) -> None:
    """Check that headers about users are those of the authentication service alone."""
    for number, route in enumerate(routes):
        given = {name.lower() for name in route.auth.headers} if route.auth else set()
        changed = [name for name, _ in route.request_headers.set]
        for name in (*changed, *route.request_headers.remove):
            if name.lower() in given:
                problems.add(
                    spot_of(node, "routes", number).error(
                        f"'{route.path}' has 'auth_request', whose answer has {name}",
                        hint="remove it from request_headers, or from the headers of auth_request",
                    )
                )
