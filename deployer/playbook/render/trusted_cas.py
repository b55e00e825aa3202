"""The certificates of CAs that routes trust for their services, read from files."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from dataclasses import replace

from deployer.errors import SourceError
from deployer.playbook.load.library import Library
from deployer.playbook.yaml.source import Problems, Spot
from deployer.sites.model import Upstream

#: Only these are copied to the host: the file may also contain a key.
_CERTIFICATE = re.compile(
    r"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----"
)


def with_cas(
    upstreams: Sequence[Upstream], spot: Spot, library: Library, problems: Problems
) -> tuple[Upstream, ...]:
    """The upstreams with the certificates of CAs in place of the names of their files."""
    try:
        return tuple(
            replace(each, ca=certificates_in(each.ca, spot, library))
            if each.verify == "file"
            else each
            for each in upstreams
        )
    except SourceError as error:
        problems.add(error)
        return tuple(upstreams)


def certificates_in(name: str, spot: Spot, library: Library) -> str:
    """The certificates of a file on this machine. Raises: `SourceError`."""
    path = library.find_file(name, "files", None, spot)
    text = library.read(path, spot).decode("ascii", "replace")
    found = "\n".join(_CERTIFICATE.findall(text))
    if not found:
        hint = "it must be a file on this machine, in PEM format, which is copied to the host"
        raise spot.error(f"{path} has no certificate of a CA", hint=hint)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=found)
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).replace("_", " ").lower()
        raise spot.error(f"{path} has an invalid certificate: {reason}") from None
    return f"{found}\n"
