"""The status of one site's certificate: on the disk, as served, and the next renewal."""

from __future__ import annotations

import os
import time

from deployer.agent.certificates.served import NotServed, served_certificate
from deployer.agent.certificates.versions import (
    FULLCHAIN,
    SERVED,
    Versions,
    due_at,
    rfc3339,
)
from deployer.agent.certificates.x509 import Certificate, Unreadable, certificates_in
from deployer.agent.children import Children
from deployer.agent.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.settings import Json


TIMER = "deployer-renew.timer"


def status_of(site: Json) -> Json:
    """The status of a site's certificate; `site` has `domain`, `names`, `issuer`, `where` and, for
    ACME issuers, `directory`.

    Times are in the format of RFC 3339, `days_left` is a float.
    """
    domain, now = site["domain"], time.time()
    versions = Versions(domain)
    state = versions.state()
    certificate = _on_disk(domain)
    served = _served(domain, site.get("port", 443))
    window = state.get("ari") or {}
    is_ours = certificate is not None and window.get("serial") == certificate.serial
    at = due_at(certificate, state) if certificate and site["where"] != "you" else None
    current = versions.current()
    return {
        "domain": domain,
        "names": list(certificate.names) if certificate else [],
        "wanted_names": list(site["names"]),
        "issuer": site["issuer"],
        "where": site["where"],
        "directory": current.about.get("directory") if current else None,
        "wanted_directory": site["directory"],
        "certificate_issuer": certificate.issuer if certificate else None,
        "serial": certificate.serial if certificate else None,
        "key_type": certificate.key_type if certificate else None,
        "not_before": rfc3339(certificate.not_before) if certificate else None,
        "not_after": rfc3339(certificate.not_after) if certificate else None,
        "days_left": round((certificate.not_after - now) / 86400, 3) if certificate else None,
        "renewal_due_at": rfc3339(at) if at is not None else None,
        "ari": [rfc3339(window["start"]), rfc3339(window["end"])] if is_ours else None,
        "last_attempt": state.get("last_attempt"),
        "served": served,
        "is_served": certificate is not None and served["serial"] == certificate.serial,
        "is_late": at is not None and now > at,
        "problem": "",
        "next_run": next_run() if site["where"] == "host" else None,
    }


def _on_disk(domain: str) -> Certificate | None:
    """The certificate that the proxy reads: a version, or a file from an apply."""
    folder = os.path.join(SERVED, domain)
    for path in (os.path.join(folder, "current", FULLCHAIN), os.path.join(folder, FULLCHAIN)):
        try:
            with open(path, "rb") as file:
                return certificates_in(file.read())[0]
        except (OSError, Unreadable):
            continue
    return None


def _served(domain: str, port: int) -> Json:
    try:
        found = served_certificate(domain, port=port)
    except NotServed as error:
        nothing = dict.fromkeys(("serial", "not_after", "issuer"))
        return {**nothing, "names": [], "error": str(error)}
    return {
        "serial": found.serial,
        "not_after": rfc3339(found.not_after),
        "issuer": found.issuer,
        "names": list(found.names),
        "error": "",
    }


def next_run() -> str | None:
    """When the timer fires next; `None` if it is not running."""
    children = Children(lambda: False)
    asked = "NextElapseUSecRealtime,ActiveState"
    try:
        argv = ["systemctl", "show", "-p", asked, TIMER]
        _, output = children.run(argv, environment={"TZ": "UTC"})
        shown = dict(line.partition("=")[::2] for line in output.splitlines())
        if shown.get("ActiveState") != "active":
            return None
        text = shown.get("NextElapseUSecRealtime", "")
        parsed = time.strptime(text, "%a %Y-%m-%d %H:%M:%S UTC")
    except (StepError, ValueError):
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", parsed)
