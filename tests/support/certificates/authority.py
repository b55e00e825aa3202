"""A real certificate authority for tests: Pebble, and a DNS with settable answers.

It listens on the lab's bridge, so that hosts reach it as they would reach one on the Internet, and
it comes to their port 80 to validate. Its management and its DNS are controlled over HTTP.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from deployer.lab.lab import Lab
from tests.support.certificates.pebble import dns_knows
from tests.support.waiting import PATIENCE_S

_PORTS = {"acme": 14000, "management": 15000, "dns": 8053, "dns_api": 8055}


@dataclass(slots=True)
class Authority:
    """Pebble and its DNS at `address`; what it needs lies in `folder`.

    `validity_s` is how long its certificates live; `options` go into Pebble's configuration; a name
    without an answer of its own is at `finds_at`. With `dns_server` that one is asked of names, and
    cannot be set here. Pebble looks at no CAA records.
    """

    address: str
    folder: Path
    validity_s: int = 3600
    reject_nonces_percent: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    dns_server: str = ""
    first_port: int = 0
    names: Sequence[str] = ()
    finds_at: str = ""
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    # --- what tests ask ---------------------------------------------------------------------------

    @property
    def directory(self) -> str:
        """The URL of its ACME directory."""
        return f"https://{self.address}:{self.port('acme')}/dir"

    @property
    def bundle(self) -> Path:
        """A file with the root of the directory's own certificate, and nothing else."""
        return self.folder / "directory-root.pem"

    @property
    def issuing_root_pem(self) -> bytes:
        """The root of what it issues now; a different one after every start."""
        return self._management("/roots/0")

    def port(self, what: str) -> int:
        """Where its ``acme``, ``management``, ``dns`` and ``dns_api`` ports are."""
        return _PORTS[what] + self.first_port

    def log(self) -> str:
        """What Pebble has said."""
        return (self.folder / "pebble.log").read_text(errors="replace")

    def orders(self) -> int:
        """How many orders have been made."""
        return self.log().count("Added order ")  # not what is refused, for its nonce say

    # --- what tests tell --------------------------------------------------------------------------

    def resolves(self, name: str, *addresses: str) -> None:
        """The CA finds `name` at these addresses of version 4."""
        self._tell("clear-a", {"host": f"{name}."})
        self._tell("add-a", {"host": f"{name}.", "addresses": list(addresses)})

    def forget(self, name: str) -> None:
        """Nothing is known of `name` any more but the default."""
        self._tell("clear-a", {"host": f"{name}."})

    # --- on and off -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the CA, and the DNS that it asks unless that is another; wait for both."""
        if not (self.folder / "directory.pem").exists():
            self._make_certificate()
        if not self.dns_server:
            self._start_dns()
        self.start_pebble()

    def _start_dns(self) -> None:
        listen = f"{self.address}:{self.port('dns')}"
        argv = ["pebble-challtestsrv", "-dns01", listen]
        for unused in ("-http01", "-https01", "-tlsalpn01", "-defaultIPv6"):
            argv += [unused, ""]
        if dns_knows("-doh"):  # from 2.5 on, at a port of all addresses
            argv += ["-doh", ""]
        argv += ["-defaultIPv4", self.finds_at or self.address]
        argv += ["-management", f"{self.address}:{self.port('dns_api')}"]
        self._spawn("dns", argv, {}, self.port("dns_api"))

    def start_pebble(self) -> None:
        """Start the CA itself, with another issuing root than before."""
        config = {
            "listenAddress": f"{self.address}:{self.port('acme')}",
            "managementListenAddress": f"{self.address}:{self.port('management')}",
            "certificate": str(self.folder / "directory.pem"),
            "privateKey": str(self.folder / "directory.key"),
            "httpPort": 80,
            "tlsPort": 443,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            "certificateValidityPeriod": self.validity_s,
            **self.options,
        }
        path = self.folder / "pebble.json"
        path.write_text(json.dumps({"pebble": config}))
        around = {
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_AUTHZREUSE": "0",
            "PEBBLE_WFE_NONCEREJECT": str(self.reject_nonces_percent),
        }
        dns = self.dns_server or f"{self.address}:{self.port('dns')}"
        argv = ["pebble", "-config", str(path), "-dnsserver", dns]
        self._spawn("pebble", argv, around, self.port("acme"))

    def stop_pebble(self) -> None:
        """Switch the CA off; its DNS goes on."""
        self._end("pebble")

    def stop(self) -> None:
        """Switch both off."""
        for name in list(self._processes):
            self._end(name)

    # --- how --------------------------------------------------------------------------------------

    def _spawn(self, name: str, argv: list[str], around: Mapping[str, str], port: int) -> None:
        """Start a program that ends with this process, and wait until it listens at `port`."""
        # A stranger's, of a lab with the same address before, would answer in its place.
        socket.create_server((self.address, port)).close()
        log = (self.folder / f"{name}.log").open("ab")
        self._processes[name] = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", *argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **around},
            cwd=self.folder,
        )
        log.close()
        _wait_for(self.address, port)

    def _end(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()

    def _tell(self, what: str, message: Mapping[str, Any]) -> None:
        url = f"http://{self.address}:{self.port('dns_api')}/{what}"
        request = urllib.request.Request(url, json.dumps(message).encode())
        with urllib.request.urlopen(request, timeout=PATIENCE_S):  # noqa: S310
            pass

    def _management(self, path: str) -> bytes:
        url = f"https://{self.address}:{self.port('management')}{path}"
        context = ssl.create_default_context(cafile=self.bundle)
        with urllib.request.urlopen(url, timeout=PATIENCE_S, context=context) as answer:
            body: bytes = answer.read()
        return body

    def _make_certificate(self) -> None:
        root_key, key = (
            ec.generate_private_key(ec.SECP256R1()),
            ec.generate_private_key(ec.SECP256R1()),
        )
        root = _certificate("Root of the directory", root_key, None, root_key, ())
        names = (
            x509.IPAddress(ipaddress.ip_address(self.address)),
            *(x509.DNSName(name) for name in self.names),
        )
        leaf = _certificate("directory", key, root, root_key, names)
        plain = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.bundle.write_bytes(root.public_bytes(Encoding.PEM))
        (self.folder / "directory.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
        (self.folder / "directory.key").write_bytes(key.private_bytes(*plain))


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    names: Sequence[x509.GeneralName],
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=300))
        .not_valid_after(now + datetime.timedelta(days=300))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _wait_for(address: str, port: int, timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection((address, port), timeout=1.0).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"nothing listens at {address}:{port}"
            time.sleep(0.02)


@contextmanager
def authority(lab: Lab, folder: Path, **options: Any) -> Iterator[Authority]:
    """An authority on the bridge of `lab`, which finds every name at the lab's first host."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {"finds_at": lab.hosts[0].address, **options}
    found = Authority(address=lab.network.address(0), folder=folder, **given)
    try:
        found.start()
        yield found
    finally:
        found.stop()
