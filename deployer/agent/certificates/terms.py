"""When a certificate is due, and whether it is what was asked for: for hosts and controller."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from deployer.agent.certificates.x509 import Certificate

_SHORT_LIFETIME_S = 10 * 86400.0


def due_at(certificate: Certificate, window: tuple[float, float] | None) -> float:
    """When it is to be renewed, in seconds since the epoch: in the CA's window, else by lifetime.

    A third of the lifetime is left then, or half of one under ten days: what certbot does from 4.0
    on. Where in the window is left to chance, but the same at every look (RFC 9773, section 4.2).
    """
    if window is not None:
        start, end = window
        share = int(certificate.serial[-4:] or "0", 16) / 0xFFFF
        return min(start + share * (end - start), float(certificate.not_after))
    part = 2 if certificate.lifetime_s < _SHORT_LIFETIME_S else 3
    return certificate.not_after - certificate.lifetime_s / part


def is_for(
    certificate: Certificate,
    settings: Mapping[str, Any],
    *,
    directory: str | None,
    profile: str | None,
) -> bool:
    """Whether it is what `settings` ask for, whenever it ends: names, CA, key and profile.

    `directory` and `profile` are what it was ordered with. A certificate of another CA, a staging
    one above all, is never taken for it.
    """
    return (
        set(certificate.names) == {str(name).lower() for name in settings["names"]}
        and directory == settings["directory"]
        and certificate.key_type == settings["key_type"]
        and profile == settings.get("profile")
    )
