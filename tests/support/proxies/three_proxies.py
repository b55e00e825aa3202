"""A host with all three proxies, each in front of the same service at a port of its own."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

from deployer.lab.host import LabHost
from tests.support.agent.process import AgentProcess, AgentRefusal, file_change
from tests.support.waiting import PATIENCE_S, until

#: Answers every request, and echoes what follows an upgrade; some clients at a time.
SERVICE = r"""
import socket, threading
def serve(line):
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            more = line.recv(65536)
            if not more:
                return line.close()
            data += more
        head, _, data = data.partition(b"\r\n\r\n")
        if b"upgrade: websocket" in head.lower():
            line.sendall(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         b"Sec-WebSocket-Accept: x\r\n\r\n")
            while data := line.recv(65536):
                line.sendall(data)
            return line.close()
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
listener = socket.create_server(("127.0.0.1", 3000), backlog=200)
while True:
    threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
"""


@dataclass(frozen=True, slots=True)
class RunningProxy:
    """One of the proxies: the file that is changed, what it holds, and where that is served."""

    unit: str
    port: int
    path: str
    config: str
    test: tuple[str, ...]
    #: How one more address is asked for.
    listen: str

    def listening(self, *addresses: str) -> str:
        """The configuration with more addresses."""
        more = "".join(self.listen % address for address in addresses)
        return self.config.replace("#more\n", more)


NGINX = RunningProxy(
    unit="nginx",
    port=8081,
    path="/etc/nginx/conf.d/page.conf",
    test=("nginx", "-t", "-q"),
    listen="    listen %s;\n",
    config="""\
map $http_upgrade $page_upgrade { default ""; websocket websocket; }
map $http_upgrade $page_connection { default ""; websocket upgrade; }
upstream page { server 127.0.0.1:3000; }
server {
    listen 8081;
#more
    location / {
        proxy_pass http://page;
        proxy_http_version 1.1;
        proxy_read_timeout 600s;
        proxy_set_header Upgrade $page_upgrade;
        proxy_set_header Connection $page_connection;
    }
}
""",
)
APACHE = RunningProxy(
    unit="apache2",
    port=8082,
    path="/etc/apache2/ports.conf",
    test=("apachectl", "configtest"),
    listen="Listen %s\n",
    config="""\
ServerName web1
Listen 8082
#more
ProxyPass "/" "http://127.0.0.1:3000/" upgrade=websocket
ServerLimit 3
ThreadsPerChild 5
StartServers 1
MinSpareThreads 5
MaxSpareThreads 10
MaxRequestWorkers 10
""",
)
HAPROXY = RunningProxy(
    unit="haproxy",
    port=8083,
    path="/etc/haproxy/haproxy.cfg",
    test=("haproxy", "-c", "-q", "-f", "/etc/haproxy/haproxy.cfg"),
    listen="    bind %s\n",
    config="""\
global
    daemon
    user haproxy
    group haproxy
    stats socket /run/haproxy/admin.sock
    hard-stop-after 90m
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout tunnel 600s
frontend page
    bind :8083
#more
    default_backend page
backend page
    server page 127.0.0.1:3000
""",
)
PROXIES = {"nginx": NGINX, "apache": APACHE, "haproxy": HAPROXY}

_INSTALL = """
export DEBIAN_FRONTEND=noninteractive
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d  # nothing is started: invoke-rc.d(8)
chmod +x /usr/sbin/policy-rc.d
apt-get install -qq --no-install-recommends nginx apache2 haproxy >/dev/null
rm /etc/nginx/sites-enabled/default /etc/apache2/sites-enabled/*
a2enmod -q proxy proxy_http >/dev/null
: > /etc/apache2/mods-available/mpm_event.conf
systemd-run --quiet --unit=page python3 /root/page.py
"""


def set_up(host: LabHost) -> None:
    """Install and start all three, and the service behind them."""
    host.exec(["tee", "/root/page.py"], stdin=SERVICE)
    host.sh(_INSTALL)
    for proxy in PROXIES.values():
        host.exec(["tee", proxy.path], stdin=proxy.config)
    host.sh("systemctl restart nginx apache2 haproxy")


def apply(
    agent: AgentProcess, proxy: RunningProxy, config: str, *, action: str = "reload"
) -> dict[str, Any]:
    """Write the proxy's file and have it read; returns the agent's error, empty where it took.

    The commit is left pending, and its name is the file's content's.
    """
    handler = {
        "name": f"{action} {proxy.unit}",
        "action": action,
        "unit": proxy.unit,
        "config_test": list(proxy.test),
    }
    file = file_change(proxy.path, config.encode(), mode="0644", owner="root", group="root")
    runs = [{"stage": 0, "because": [file["resource_id"]], "handler": handler}]
    try:
        agent.apply(file, handlers=runs)
    except AgentRefusal as refusal:
        return refusal.error
    return {}


def web_socket(host: LabHost, proxy: RunningProxy) -> socket.socket:
    """A connection that has been upgraded through the proxy."""
    line = socket.create_connection((host.address, proxy.port), timeout=PATIENCE_S)
    line.sendall(
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert b" 101 " in line.recv(4096)
    return line


def idle_client(host: LabHost, proxy: RunningProxy) -> socket.socket:
    """A connection whose request has been answered, and which is kept for the next one."""
    line = socket.create_connection((host.address, proxy.port), timeout=PATIENCE_S)
    line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = line.recv(4096)
    while b"ok" not in answer.partition(b"\r\n\r\n")[2]:
        answer += line.recv(4096)
    return line


def answers(host: LabHost, proxy: RunningProxy) -> bool:
    """Whether a new client is served."""
    try:
        idle_client(host, proxy).close()
    except OSError:
        return False
    return True


def echoes(line: socket.socket) -> bool:
    """Whether an upgraded connection still works."""
    try:
        line.sendall(b"hello")
        return line.recv(100) == b"hello"
    except OSError:
        return False


def occupy(host: LabHost, port: int) -> None:
    """Someone else listens at `port`, in the service ``other``."""
    listen = (
        f"import socket, time\nline = socket.create_server(('0.0.0.0', {port}))\ntime.sleep(600)\n"
    )
    host.exec(["systemd-run", "--quiet", "--collect", "--unit=other", "python3", "-c", listen])
    until(lambda: host.sh(f"ss -Hltn 'sport = {port}'") != "")
