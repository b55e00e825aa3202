"""Values for templates of routes whose requests a service is asked about."""

from __future__ import annotations

import re

from deployer.sites.model import AuthRequest, Route, Site
from deployer.sites.values import View, address_of, refuse_unless

_PLAIN_REQUEST = re.compile(r"/[A-Za-z0-9._~!&()*+,=:@/?%-]*")
_PLAIN_SIGN_IN = re.compile(r"(https?://[A-Za-z0-9.:-]+)?/[A-Za-z0-9._~!&()*+,=:@/?%-]*")
_PLAIN_HEADER = re.compile(r"[A-Za-z0-9-]+")


def auth_view(site: Site, route: Route, auth: AuthRequest) -> View:
    """Who is asked about requests for `route`, and what follows.

    `number` is the same for routes that ask alike.
    """
    place = route.at("auth_request")
    server = address_of(auth.service, source=place, what="the service")
    refuse_unless(_PLAIN_REQUEST, auth.path, what="the path", source=place)
    for name in auth.headers:
        refuse_unless(_PLAIN_HEADER, name, what="the header", source=place)
    if auth.sign_in is not None:
        refuse_unless(_PLAIN_SIGN_IN, auth.sign_in, what="the login page", source=place)
    every = [each.auth for each in site.routes if each.auth]
    asked = list(dict.fromkeys((each.service, each.path) for each in every))
    return {
        "number": asked.index((auth.service, auth.path)) + 1,
        "scheme": "https" if auth.service.tls else "http",
        "server": server,
        "path": auth.path,
        "headers": list(auth.headers),
        "sign_in": auth.sign_in,
        "inside": auth.sign_in is not None and auth.sign_in.startswith("/"),
        "followed": auth.sign_in is not None and auth.sign_in.endswith("="),
    }
