"""How a proxy verifies the certificates of a route's services."""

from __future__ import annotations

from deployer.errors import SourceError
from deployer.sites.model import Route
from deployer.sites.values import View

#: The CAs of the system, in Debian's package ca-certificates.
SYSTEM_CAS = "/etc/ssl/certs/ca-certificates.crt"


def tls_view(route: Route, file: str) -> View:
    """The values of a template: the CAs, in `file` if they are not the system's, and the name.

    `tls_name` is `None` for the name of the site.

    Raises:
        SourceError: the upstreams of one route differ in them.
    """
    kinds = {(each.verify, each.ca, each.tls_name) for each in route.upstreams}
    if len(kinds) > 1:
        raise SourceError(
            f"the upstreams of {route.path} differ in how their certificates are verified",
            source=route.at("websocket", "upstream"),
            hint="A route has one `verify` and one name for all of them: write the same `verify` "
            "and `sni` for each.",
        )
    verify, ca, name = next(iter(kinds), ("", "", ""))
    return {
        "ca_file": {"system": SYSTEM_CAS, "file": file}.get(verify),
        "ca": ca or None,
        "tls_name": name or None,
    }
