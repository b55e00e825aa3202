"""The files that hosts of a release would get, run by real proxies on this machine.

``deployer check --render`` writes them. Only ports and folders are changed, and what needs the
accounts, sockets and main files of a package.
"""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployer.certificates.internal_ca.authority import InternalCa
from deployer.cli import main
from tests.support.waiting import PATIENCE_S, until

NAME = "ws.example.com"
PLAYBOOK = """\
- hosts: all
  sites:
    - domain: {name}
      proxy: {proxy}
      tls: {{issuer: internal, hsts: 180d}}
      underscores_in_headers: {underscores}
      routes:
        - {{path: /ws, websocket: "http://127.0.0.1:{port}"}}
        - {{path: /two, websocket: ["http://127.0.0.1:{port}", "http://127.0.0.1:{gone}"]}}
        - {{path: /part, upstream: "http://127.0.0.1:{port}", strip_prefix: true}}
        - {{path: /, upstream: "http://127.0.0.1:{port}"}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """The files of one host below `etc`, and where its site listens here."""

    etc: Path
    http: int
    https: int
    root_pem: bytes

    def text(self, path: str) -> str:
        """A file with the paths of this machine."""
        return re.sub("/etc/(?!ssl/certs/)", f"{self.etc}/", (self.etc / path).read_text())


def render(folder: Path, release: str, proxy: str, *, service: int) -> Rendered:
    """Render the playbook in `folder`, which is the current one, and add a certificate."""
    about = {"underscores": str(proxy == "haproxy").lower()}  # the nginx from PyPI has no Lua
    text = PLAYBOOK.format(name=NAME, proxy=proxy, port=service, gone=free_port(), **about)
    (folder / "site.yml").write_text(text)
    (folder / "inventory.yml").write_text("all: {hosts: {web1: }}\n")
    assert main.run(["check", "site.yml", "--render", "out", "--release", release]) == 0
    etc = folder / "out/web1/etc"
    files = InternalCa(folder / "ca").certificate_for([NAME])
    certificates = etc / "ssl/deployer" / NAME
    certificates.mkdir(parents=True, exist_ok=True)
    (certificates / "fullchain.pem").write_bytes(files.fullchain_pem)
    (certificates / "privkey.pem").write_bytes(files.key_pem)
    return Rendered(
        etc=etc, http=free_port(), https=free_port(), root_pem=InternalCa(folder / "ca").root_pem()
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


_NGINX = """\
daemon off;
user root;
pid nginx.pid;
error_log error.log info;
events {{ }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    {includes}
}}
"""


def nginx(rendered: Rendered, program: Path) -> list[list[str]]:
    """The commands that test and run nginx with the files."""
    folder = rendered.etc / "nginx"
    texts = {"http.conf": rendered.text("nginx/conf.d/deployer.conf")}
    for path in sorted((folder / "sites-available").iterdir()):
        site = rendered.text(f"nginx/sites-available/{path.name}")
        site = site.replace("/var/log/nginx/", f"{folder}/")
        site = re.sub(r"listen +\[::\].*\n", "", site)
        site = re.sub(r"(listen +)80\b", rf"\g<1>127.0.0.1:{rendered.http}", site)
        site = site.replace(" 443 ssl", f" 127.0.0.1:{rendered.https} ssl")
        texts[path.name] = site.replace("X25519MLKEM768:", "")  # this nginx contains OpenSSL 3.3
    for name, text in texts.items():
        (folder / name).write_text(text)
    includes = " ".join(f"include {folder}/{name};" for name in texts)
    (folder / "nginx.conf").write_text(_NGINX.format(includes=includes))
    common = [str(program), "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"]
    return [[*common, "-t"], common]


def haproxy(rendered: Rendered, program: Path) -> list[list[str]]:
    """The same for HAProxy."""
    text = rendered.text("haproxy/haproxy.cfg")
    text = re.sub(
        r"(?m)^    ((chroot|stats|(user|group) +(haproxy|www-data)).*|daemon)\n", "", text
    )
    text = re.sub(r",\[::\]:\d+ v6only", "", text)
    text = text.replace("/dev/log", f"{rendered.etc}/log.sock")
    text = text.replace("bind :80", f"bind 127.0.0.1:{rendered.http}")
    text = text.replace("bind :443", f"bind 127.0.0.1:{rendered.https}")
    path = rendered.etc / "haproxy/here.cfg"
    path.write_text(text)
    certificates = rendered.etc / "haproxy/deployer/certificates"
    if certificates.exists():
        certificates.write_text(rendered.text("haproxy/deployer/certificates"))
    common = [str(program), "-f", str(path)]
    return [[*common, "-c"], [*common, "-db"]]


@contextmanager
def running(commands: Sequence[Sequence[str]], port: int) -> Iterator[str]:
    """The output of the configuration test, while the proxy runs."""
    test, run = commands
    tested = subprocess.run(test, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    output = tested.stdout + tested.stderr
    assert tested.returncode == 0, output
    process = subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        until(lambda: process.poll() is not None or listens(port))
        assert process.poll() is None, process.stdout.read().decode()  # type: ignore[union-attr]
        yield output
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


def listens(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


Commands = Callable[[Rendered, Path], list[list[str]]]
