"""When a certificate is due, and whether it matches its settings: for hosts and controller."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from deployer.agent.certificates.x509 import Certificate

_SHORT_LIFETIME_S = 10 * 86400.0


def due_at(certificate: Certificate, window: tuple[float, float] | None) -> float:
    """When to renew it, in seconds since the epoch: in the CA's window, or by its lifetime.

    By lifetime, a third of it is left then, or half if it is under ten days, as in certbot 4.0. The
    time in the window is random, but always the same (RFC 9773, section 4.2).
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
    """Whether it matches `settings`, regardless of its end: names, CA, key and profile.

    It was ordered with `directory` and `profile`. A certificate of a different CA, in particular a
    staging one, never matches.
    """
    return (
        set(certificate.names) == {str(name).lower() for name in settings["names"]}
        and directory == settings["directory"]
        and certificate.key_type == settings["key_type"]
        and profile == settings.get("profile")
    )
