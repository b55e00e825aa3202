"""Which certificates clients of a site present, and the one for checks."""

from __future__ import annotations

import ssl

from deployer.playbook.load.library import Library
from deployer.playbook.render.trusted_cas import certificates_in
from deployer.playbook.schema.tls import ClientCertificatesModel
from deployer.playbook.yaml.source import YamlMap, spot_of
from deployer.sites.model import Clients


def to_clients(model: ClientCertificatesModel, node: YamlMap, library: Library) -> Clients:
    """The CAs of `model`, read from their file, and the paths of the certificate for checks.

    Raises:
        SourceError: a file is missing or invalid.
    """
    place = ("tls", "client_certificates")
    ca = certificates_in(model.ca, spot_of(node, *place, "ca"), library)
    if model.probe is None:
        return Clients(ca=ca, verify=model.verify)
    spots = {key: spot_of(node, *place, "probe", key) for key in ("certificate", "key")}
    certificate = library.find_file(model.probe.certificate, "files", None, spots["certificate"])
    key = library.find_file(model.probe.key, "files", None, spots["key"])
    try:
        # A passphrase would be asked for on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, lambda: b"")
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = str(getattr(error, "reason", None) or error).replace("_", " ").lower()
        raise spots["certificate"].error(
            f"{certificate} and {key} are no certificate with its key: {reason}",
            hint="both are PEM files, and the key has no passphrase",
        ) from None
    return Clients(
        ca=ca, verify=model.verify, certificate=str(certificate.resolve()), key=str(key.resolve())
    )
