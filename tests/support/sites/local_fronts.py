"""One playbook behind each proxy, run by the real programs on this machine's loopback address.

``deployer check --render`` writes the files of a Debian 12 host. Only ports and folders are
changed, and what needs the accounts, sockets and main files of a package.
"""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from tempfile import TemporaryDirectory

from deployer.certificates.internal_ca.authority import InternalCa
from deployer.cli import main
from tests.support.paths import ROOT
from tests.support.sites.rendered_release import (
    Rendered,
    free_port,
    haproxy,
    listens,
    nginx,
    running,
)
from tests.support.waiting import PATIENCE_S, until

APACHE = shutil.which("apache2", path="/usr/sbin:/usr/bin") or ""
_MODULES = Path("/usr/lib/apache2/modules")
#: What Debian's main file loads besides the modules of the role.
_USUAL = ("mpm_event", "authz_host", "authn_core", "mime", "dir", "filter", "deflate", "unixd")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, with the time at which each part of its body arrived."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    arrivals_s: tuple[float, ...] = ()

    def all(self, name: str) -> list[str]:
        """The values of a header."""
        return [value for key, value in self.headers if key == name.lower()]

    def __getitem__(self, name: str) -> str:
        (value,) = self.all(name)
        return value


@dataclass(frozen=True, slots=True)
class LocalFront:
    """A running proxy of this machine."""

    proxy: str
    rendered: Rendered
    syslog: socket.socket

    def logged(self, name: str) -> list[bytes]:
        """The lines in the log of a site that is JSON, or of syslog."""
        file = {"nginx": "nginx", "apache": "apache2"}.get(self.proxy)
        if file is not None:
            return (self.rendered.etc / file / f"{name}.json.log").read_bytes().splitlines()
        lines = []
        while True:
            try:
                lines.append(b"{" + self.syslog.recv(65536).rstrip().partition(b"{")[2])
            except BlockingIOError:
                return lines

    def trust(self) -> ssl.SSLContext:
        """The TLS of a client that trusts the certificates of the sites."""
        return ssl.create_default_context(cadata=self.rendered.root_pem.decode())

    def connect(
        self,
        name: str,
        *,
        tls: bool | ssl.SSLContext = True,
        port: int = 0,
        begin: bytes = b"",
    ) -> socket.socket:
        port = port or (self.rendered.https if tls else self.rendered.http)
        line = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        line.sendall(begin)
        if not tls:
            return line
        trust = tls if isinstance(tls, ssl.SSLContext) else self.trust()
        return trust.wrap_socket(line, server_hostname=name)

    def ask(
        self,
        name: str,
        target: str,
        *headers: str,
        method: str = "GET",
        body: bytes = b"",
        tls: bool = False,
        port: int = 0,
        begin: bytes = b"",
    ) -> Answer:
        """One request on a connection of its own, which starts with `begin`."""
        rows = [f"Host: {name}", *headers]
        with self.connect(name.partition(":")[0], tls=tls, port=port, begin=begin) as line:
            return asked(line, f"{method} {target} HTTP/1.1", *rows, body=body)


def asked(line: socket.socket, request: str, *headers: str, body: bytes = b"") -> Answer:
    """The answer to one request."""
    rows = [request, *headers]
    if not any(row.lower().startswith("connection:") for row in headers):
        rows.append("Connection: close")
    line.sendall("\r\n".join([*rows, "", ""]).encode("latin-1") + body)
    return _read(line, request.partition(" ")[0])


def _read(line: socket.socket, method: str) -> Answer:
    response = HTTPResponse(line, method=method)
    response.begin()
    parts, arrivals = [], []
    while response.status != 101 and (part := response.read1()):
        parts.append(part)
        arrivals.append(time.monotonic())
    headers = tuple((name.lower(), value) for name, value in response.headers.raw_items())
    return Answer(response.status, headers, b"".join(parts), tuple(arrivals))


def open_folder(stack: ExitStack) -> Path:
    """A folder that a proxy's user can enter; pytest's own are closed to others."""
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="deployer-fronts-")))
    folder.chmod(0o755)
    return folder


@contextmanager
def serving(
    proxy: str,
    program: Path,
    playbook: str,
    folder: Path,
    *,
    release: str = "debian-12",
    edits: Mapping[str, str] | None = None,
) -> Iterator[LocalFront]:
    """The sites of `playbook` behind `proxy`; its name is wherever the playbook has ``PROXY``.

    `edits` are further texts of the configuration that are replaced by others.
    """
    rendered = _render(playbook.replace("PROXY", proxy), folder, release)
    for path in (*rendered.etc.rglob("*.conf"), *rendered.etc.rglob("*.cfg")) if edits else ():
        if path.is_symlink():
            continue
        text = path.read_text()
        for old, new in (edits or {}).items():
            text = text.replace(old, new)
        path.write_text(text)
    commands: Callable[[Rendered, Path], list[list[str]]] = _COMMANDS[proxy]
    syslog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    syslog.bind(str(rendered.etc / "log.sock"))
    syslog.setblocking(False)
    with syslog, _files(rendered), running(commands(rendered, program), rendered.http) as tested:
        assert not re.search(r"\[(emerg|alert|warn(ing)?)\]|AH\d+: warn", tested, re.I), tested
        yield LocalFront(proxy, rendered, syslog)


@contextmanager
def _files(rendered: Rendered) -> Iterator[None]:
    """The file server of a proxy that serves no files, if one was rendered."""
    unit = next((rendered.etc / "systemd/system").glob("*static-files*"), None)
    if unit is None:
        yield
        return
    port = free_port()
    config = rendered.etc / "haproxy/haproxy.cfg"
    config.write_text(re.sub(r"(server files 127\.0\.0\.1):\d+", rf"\1:{port}", config.read_text()))
    for link in (rendered.etc / "static-files").iterdir():
        link.unlink()
        link.symlink_to("/" + link.name.replace(":", "/"))
    program = ROOT / "roles/haproxy/files/static_files.py"
    command = [
        sys.executable,
        str(program),
        f"127.0.0.1:{port}",
        str(rendered.etc / "static-files"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until(lambda: listens(port))
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _render(playbook: str, folder: Path, release: str) -> Rendered:
    (folder / "site.yml").write_text(playbook)
    (folder / "inventory.yml").write_text("all: {hosts: {web1: }}\n")
    options = ["--render", "out", "--release", release]
    assert main.run(["check", "site.yml", *options]) == 0
    etc = folder / "out/web1/etc"
    authority = InternalCa(folder / "ca")
    names = set(re.findall(r"/etc/ssl/deployer/([^/\s\"]+)/", _everything(etc)))
    names |= {path.stem for path in etc.glob("haproxy/deployer/*.pem")}
    for name in names:
        files = authority.certificate_for([name, f"www.{name}"])
        where = etc / "ssl/deployer" / name
        where.mkdir(parents=True, exist_ok=True)
        (where / "fullchain.pem").write_bytes(files.fullchain_pem)
        (where / "privkey.pem").write_bytes(files.key_pem)
    return Rendered(etc=etc, http=free_port(), https=free_port(), root_pem=authority.root_pem())


def _everything(etc: Path) -> str:
    return "".join(path.read_text() for path in etc.rglob("*") if path.is_file())


_MAIN = """\
ServerRoot {folder}
Define APACHE_LOG_DIR {folder}
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
User www-data
Group www-data
Listen 127.0.0.1:{http}
Listen 127.0.0.1:{https} https
TypesConfig /etc/mime.types
<Directory />
    Require all denied
</Directory>
{modules}
{shared}
{sites}
"""


def _apache(rendered: Rendered, program: Path) -> list[list[str]]:
    folder = rendered.etc / "apache2"
    links = [path.stem for path in (folder / "mods-enabled").glob("*.load")]
    names = [name for name in dict.fromkeys([*_USUAL, *links]) if _module(name).exists()]
    sites = "".join(
        rendered.text(f"apache2/sites-available/{path.name}")
        for path in sorted((folder / "sites-available").iterdir())
    )
    sites = sites.replace("*:80>", f"*:{rendered.http}>").replace("*:443>", f"*:{rendered.https}>")
    text = _MAIN.format(
        folder=folder,
        http=rendered.http,
        https=rendered.https,
        modules="\n".join(f"LoadModule {name}_module {_module(name)}" for name in names),
        shared="".join(
            rendered.text(f"apache2/conf-available/{path.name}")
            for path in sorted((folder / "conf-available").iterdir())
        ),
        sites=sites,
    )
    path = folder / "here.conf"
    path.write_text(text)
    common = [str(program), "-f", str(path)]
    return [[*common, "-t"], [*common, "-DFOREGROUND"]]


def _module(name: str) -> Path:
    return _MODULES / f"mod_{name}.so"


_COMMANDS = {"nginx": nginx, "apache": _apache, "haproxy": haproxy}
