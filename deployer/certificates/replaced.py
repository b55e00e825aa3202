"""Certificates of a different CA that a plan would replace, often of another project folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from deployer.plan.model import Change, Plan
from deployer.sites.values import CERTIFICATES_FOLDER

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_OWN_CA = "deployer internal CA "


def replaced_certificates(plan: Plan) -> Iterator[str]:
    """A note for each certificate in use that `plan` replaces by one of a different CA."""
    for change in plan.changes:
        path = PurePosixPath(change.name)
        is_chain = change.kind == "file" and path.name == "fullchain.pem"
        if is_chain and change.action == "update" and str(path).startswith(CERTIFICATES_FOLDER):
            yield from _note(path.parent.name, change)


def _note(domain: str, change: Change) -> Iterator[str]:
    before, after = _first(change.before_content), _first(change.after_content)
    if before is None or after is None or _issuer_of(before) == _issuer_of(after):
        return
    was, new = _name_of(before), _name_of(after)
    text = f"the certificate of {domain} from '{was}' is replaced by one from '{new}'"
    if was.startswith(_OWN_CA):
        yield (
            f"{text}: a different project folder made it, and clients that trust only its root "
            "will reject the new one. To keep that CA, copy .deployer/ca of that folder to this one"
        )
    else:
        yield text


def _first(pem: bytes | None) -> Certificate | None:
    if not pem:
        return None
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        return None


def _issuer_of(certificate: Certificate) -> tuple[bytes, bytes | None]:
    """The issuer's name, and its key if the certificate has its identifier."""
    from cryptography import x509

    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
        key = found.value.key_identifier
    except (x509.ExtensionNotFound, ValueError):
        key = None
    return certificate.issuer.public_bytes(), key


def _name_of(certificate: Certificate) -> str:
    from cryptography.x509.oid import NameOID

    names = certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.issuer.rfc4514_string()
