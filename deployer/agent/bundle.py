"""The programs that work on a host, as the bytes that are sent there."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path

__all__ = [
    "certificate_modules",
    "inspection_modules",
    "proxy_modules",
    "renewal_program",
    "source",
]

#: What knows running proxies: before they load a configuration, and what that means to clients.
_OF_PROXIES = ("proxies.configs", "proxies.connections", "proxies.readiness")

#: What looks at proxies whatever has set them up, each after those that it imports.
_OF_INSPECTION = (
    *_OF_PROXIES,
    "proxies.files",
    "proxies.nginx",
    "proxies.apache",
    "proxies.haproxy",
    "proxies.inspect",
)

#: What keeps certificates, each after those that it imports.
_OF_CERTIFICATES = (
    *_OF_PROXIES,
    "certificates.x509",
    "certificates.directory",
    "certificates.registered_domain",
    "certificates.ledger",
    "certificates.certbot.log",
    "certificates.certbot.secrets",
    "certificates.certbot.signs",
    "certificates.certbot.words",
    "certificates.certbot.command",
    "certificates.responder",
    "certificates.terms",
    "certificates.versions",
    "certificates.served",
    "certificates.order",
    "certificates.renewal",
    "certificates.status",
    "certificates.requests",
)


_START = b"""\
import sys

from deployer.agent.certificates.requests import main

sys.exit(main(sys.argv[1:]))
"""


@cache
def source() -> bytes:
    """The runner's source text, read once in a process."""
    return _path("commit.apply").read_bytes()


@cache
def certificate_modules() -> dict[str, str]:
    """The sources of what the runner needs for certificates, by name, in order."""
    return {name: _path(name).read_text(encoding="utf-8") for name in _OF_CERTIFICATES}


@cache
def proxy_modules() -> dict[str, str]:
    """The sources of what the runner needs where a proxy is reloaded or started, in order."""
    return {name: _path(name).read_text(encoding="utf-8") for name in _OF_PROXIES}


@cache
def inspection_modules() -> dict[str, str]:
    """The sources of what the runner needs to tell all about its proxies, in order."""
    return {name: _path(name).read_text(encoding="utf-8") for name in _OF_INSPECTION}


@cache
def renewal_program() -> bytes:
    """The program that renews certificates on a host by itself: a zip that Python runs.

    It is the same on every controller: nothing in it is compressed or has a time of its own.
    Source: zipapp, https://docs.python.org/3/library/zipapp.html
    """
    files = {"__main__.py": _START, "deployer/__init__.py": b""}
    for folder in ("", "commit/", "certificates/", "certificates/certbot/", "proxies/"):
        files[f"deployer/agent/{folder}__init__.py"] = b""
    for name in ("commit.apply", *_OF_CERTIFICATES):
        files[f"deployer/agent/{name.replace('.', '/')}.py"] = _path(name).read_bytes()
    from zipfile import ZIP_STORED, ZipFile, ZipInfo

    packed = BytesIO()
    with ZipFile(packed, "w", ZIP_STORED) as archive:
        for name, content in files.items():
            about = ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            about.create_system = 3
            archive.writestr(about, content)
    return packed.getvalue()


def _path(name: str) -> Path:
    return Path(__file__).parent / f"{name.replace('.', '/')}.py"
