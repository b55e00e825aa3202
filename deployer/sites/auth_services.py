"""Authentication services that proxies can ask about requests, as their documentation describes.

Read on 30 November 2026:

- https://www.authelia.com/integration/proxies/nginx/ (the endpoint AuthRequest)
- https://docs.goauthentik.io/add-secure-apps/providers/proxy/server_nginx/
- https://oauth2-proxy.github.io/oauth2-proxy/configuration/integrations/nginx
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthService:
    """Its usual port, what it is asked, and what it answers.

    `headers` of its answer are about the user. `sign_in` is where pages are redirected to, followed
    by their URL; `None` if the answer itself has a Location. The `own` path of each site belongs to
    the service, if it needs one.
    """

    port: int
    path: str
    headers: tuple[str, ...]
    sign_in: str | None = None
    own: str | None = None


NO_PRESET = AuthService(port=0, path="/", headers=())
AUTH_SERVICES: Mapping[str, AuthService] = {
    "authelia": AuthService(
        port=9091,
        path="/api/authz/auth-request",
        headers=("Remote-User", "Remote-Groups", "Remote-Email", "Remote-Name"),
    ),
    "authentik": AuthService(
        port=9000,
        path="/outpost.goauthentik.io/auth/nginx",
        headers=(
            *("X-authentik-username", "X-authentik-groups", "X-authentik-entitlements"),
            *("X-authentik-email", "X-authentik-name", "X-authentik-uid"),
        ),
        sign_in="/outpost.goauthentik.io/start?rd=",
        own="/outpost.goauthentik.io",
    ),
    "oauth2-proxy": AuthService(
        port=4180,
        path="/oauth2/auth",
        headers=(
            *("X-Auth-Request-User", "X-Auth-Request-Email", "X-Auth-Request-Groups"),
            "X-Auth-Request-Preferred-Username",
        ),
        sign_in="/oauth2/sign_in?rd=",
        own="/oauth2",
    ),
}
