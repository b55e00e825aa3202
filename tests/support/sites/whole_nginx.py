"""A whole configuration for a real nginx, of the site files that the role would write."""

from __future__ import annotations

import datetime
import re
import shutil
import socket
import subprocess
from pathlib import Path

from deployer.certificates.internal_ca.authority import InternalCa
from deployer.sites.certificate_files import is_acme
from deployer.sites.model import Site
from tests.support.sites import site_case
from tests.support.waiting import PATIENCE_S

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin") or ""
NOW = datetime.datetime.now(datetime.UTC)

MAIN = """\
daemon off;
user root;
worker_processes 2;
pid nginx.pid;
error_log error.log info;
events {{ worker_connections 256; }}
http {{
    include /etc/nginx/mime.types;
    access_log access.log;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
{includes}
}}
"""


def installed_versions() -> dict[str, str]:
    """What is installed here, as the role's variables say it."""
    shown = subprocess.run([NGINX, "-V"], capture_output=True, text=True, check=True).stderr
    version = re.search(r"nginx/([\d.]+)", shown)
    library = re.search(r"running with OpenSSL ([\d.]+)", shown) or re.search(
        r"built with OpenSSL ([\d.]+)", shown
    )
    assert version
    assert library
    return {"nginx_version": version[1], "openssl_version": library[1]}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def prepare(
    folder: Path, sites: list[Site], *, http_port: int, https_port: int, **variables: object
) -> InternalCa:
    """Writes a whole configuration into `folder`; only ports and folders differ from a host's."""
    ca = InternalCa(folder / "ca")
    (folder / "http.conf").write_text((site_case.ROLE / "templates/http.conf.j2").read_text())
    includes = [f"    include {folder}/http.conf;"]
    for site in sites:
        certificates = folder / "ssl" / site.domain / ("current" if is_acme(site) else "")
        certificates.mkdir(parents=True)
        files = ca.certificate_for(site.names, now=NOW)
        (certificates / "fullchain.pem").write_bytes(files.fullchain_pem)
        (certificates / "privkey.pem").write_bytes(files.key_pem)
        values = {**site_case.HOST, **installed_versions(), "nginx_lua": False, **variables}
        text = site_case.render(site, values)
        text = text.replace("/etc/ssl/deployer/", f"{folder}/ssl/")
        text = re.sub(r"(listen +)80;", rf"\g<1>127.0.0.1:{http_port};", text)
        text = re.sub(r"(listen +)\[::\]:80;", rf"\g<1>[::1]:{http_port};", text)
        text = re.sub(r"(listen +)443 ", rf"\g<1>127.0.0.1:{https_port} ", text)
        text = re.sub(r"(listen +)\[::\]:443 ", rf"\g<1>[::1]:{https_port} ", text)
        (folder / f"{site.domain}.conf").write_text(text)
        includes.append(f"    include {folder}/{site.domain}.conf;")
    (folder / "nginx.conf").write_text(MAIN.format(includes="\n".join(includes)))
    return ca


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    """``nginx -t`` of that configuration."""
    command = [NGINX, "-t", "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
