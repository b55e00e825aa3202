"""What is wrong with a host though each site's configuration is right: states, created and fixed.

Each is a context manager over a host that serves the cases; it gives the address that suffers. They
are made one after the other on a host, and the hosts of the proxies side by side.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

from deployer.lab.host import LabHost
from deployer.model import Hop, Proxy
from tests.integration.catalogue.broken_cases import DOMAIN
from tests.integration.catalogue.broken_hosts import write
from tests.support.waiting import until

_HEALTHY = f"upgrade-lost-healthy.{DOMAIN}"
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A state of a host, and what has to be found in it.

    `make` gives the URL to look at. `at` is the file (or file and line) that the finding names,
    where it has one.
    """

    name: str
    row: int
    proxy: Proxy
    make: Callable[[LabHost], AbstractContextManager[str]]
    code: str
    hop: Hop = "proxy"
    severity: str = "error"
    at: str = ""

    def __str__(self) -> str:
        return f"{self.proxy}-{self.name}"


# --- clients that stay ----------------------------------------------------------------------------


def opened(host: LabHost, name: str, port: int = 443, path: str = "/ws") -> socket.socket:
    """A WebSocket that does nothing but be open.

    Raises:
        OSError: it does not open, or not within two seconds.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    line = socket.create_connection((host.address, port), timeout=2)
    try:
        tls = context.wrap_socket(line, server_hostname=name)
    except OSError:
        line.close()
        raise
    where = name if port == 443 else f"{name}:{port}"
    fields = (
        f"GET {path} HTTP/1.1",
        f"Host: {where}",
        f"Origin: https://{where}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {_KEY}",
        "",
        "",
    )
    try:
        tls.sendall("\r\n".join(fields).encode())
        if b" 101 " not in tls.recv(100):
            raise ConnectionRefusedError("no 101")
    except OSError:
        tls.close()
        raise
    return tls


def hold(stack: ExitStack, host: LabHost, most: int, name: str = _HEALTHY, port: int = 443) -> int:
    """Open up to `most` WebSockets until `stack` ends; how many came about."""
    for count in range(most):
        try:
            stack.enter_context(opened(host, name, port))
        except OSError:
            return count
    return most


def restart(host: LabHost, unit: str) -> None:
    """As often as it takes: systemd is patient with five in ten seconds only."""
    host.sh(f"systemctl reset-failed {unit} 2>/dev/null; systemctl restart {unit}")


@contextmanager
def occupied(host: LabHost, port: int) -> Iterator[None]:
    """A different program listens on `port`."""
    program = f"import socket, time\ns = socket.create_server(('', {port}))\ntime.sleep(600)\n"
    host.exec(["systemd-run", "-q", "--collect", "--unit=other", "python3", "-c", program])
    until(lambda: host.sh(f"ss -Hltn 'sport = {port}'") != "")
    try:
        yield
    finally:
        host.sh("systemctl stop other")


@contextmanager
def changed(host: LabHost, path: str, *edits: tuple[str, str], more: str = "") -> Iterator[None]:
    """The file with other words, and `more` at its end, as long as the block runs."""
    target = host.root / path.lstrip("/")
    before = target.read_text()
    text = before
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    target.write_text(text + more)
    try:
        yield
    finally:
        target.write_text(before)


@contextmanager
def added(host: LabHost, path: str, text: str) -> Iterator[None]:
    """One more file."""
    write(host, path, text)
    try:
        yield
    finally:
        (host.root / path.lstrip("/")).unlink()


# --- nginx ----------------------------------------------------------------------------------------

_NGINX_CONF = "/etc/nginx/nginx.conf"
_CAP = "worker_shutdown_timeout 1h;"


@contextmanager
def map_missing(host: LabHost) -> Iterator[str]:
    """A recipe's location without its map; the reload was rejected, unnoticed."""
    text = f"""\
server {{
    listen 443 ssl;
    server_name new.{DOMAIN};
    location /ws {{
        proxy_pass http://127.0.0.1:9101;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
    }}
}}
"""
    with added(host, "/etc/nginx/conf.d/new.conf", text):
        host.sh("systemctl reload nginx || true")
        yield f"wss://new.{DOMAIN}/ws"


@contextmanager
def port_taken(host: LabHost) -> Iterator[str]:
    """A new site with an additional port that is in use: the reload succeeds without effect."""
    text = f"""\
server {{
    listen 443 ssl;
    listen 9443 ssl;
    server_name new.{DOMAIN};
    location /ws {{
        proxy_pass http://127.0.0.1:9101;
        include upgrade.conf;
    }}
}}
"""
    with occupied(host, 9443), added(host, "/etc/nginx/conf.d/new.conf", text):
        host.sh("systemctl reload nginx")
        until(lambda: "still could not bind" in host.sh("cat /var/log/nginx/error.log"))
        yield f"wss://new.{DOMAIN}/ws"


@contextmanager
def piled_up(host: LabHost) -> Iterator[str]:
    """Reloads without a cap, with a WebSocket left in each generation."""
    with changed(host, _NGINX_CONF, (_CAP, "")), ExitStack() as stack:
        restart(host, "nginx")
        for generation in range(1, 5):
            assert hold(stack, host, 1) == 1
            host.sh("systemctl reload nginx")
            leaving = "ps -eo args | grep -c '[i]s shutting down' || true"
            until(lambda: int(host.sh(leaving)) == generation)  # noqa: B023 - called at once
        yield f"wss://{_HEALTHY}/ws"
    restart(host, "nginx")


@contextmanager
def few_connections(host: LabHost) -> Iterator[str]:
    """worker_connections are all in use."""
    edit = ("worker_connections 768;", "worker_connections 32;")
    with changed(host, _NGINX_CONF, edit), ExitStack() as stack:
        restart(host, "nginx")
        assert hold(stack, host, 40) < 20
        yield f"wss://{_HEALTHY}/ws"
    restart(host, "nginx")


@contextmanager
def few_files(host: LabHost) -> Iterator[str]:
    """A worker may open no more files."""
    edit = ("worker_processes 1;", "worker_processes 1;\nworker_rlimit_nofile 40;")
    with changed(host, _NGINX_CONF, edit), ExitStack() as stack:
        restart(host, "nginx")
        assert hold(stack, host, 40) < 20
        yield f"wss://{_HEALTHY}/ws"
    restart(host, "nginx")


@contextmanager
def stopped(host: LabHost) -> Iterator[str]:
    """The proxy was stopped, and nothing else is wrong with it."""
    unit = host.sh(
        "systemctl is-enabled nginx >/dev/null 2>&1 && echo nginx || echo apache2"
    ).strip()
    host.sh(f"systemctl stop {unit}")
    yield f"wss://{_HEALTHY}/ws"
    host.sh(f"systemctl start {unit}")


# --- Apache ---------------------------------------------------------------------------------------

_MPM = "/etc/apache2/conf-enabled/mpm.conf"


def _workers(servers: int, threads: int) -> str:
    return f"""\
StartServers 1
ServerLimit {servers}
ThreadsPerChild {threads}
ThreadLimit {threads}
MinSpareThreads 1
MaxSpareThreads {servers * threads}
MaxRequestWorkers {servers * threads}
"""


@contextmanager
def few_threads(host: LabHost) -> Iterator[str]:
    """Each thread has a WebSocket."""
    with added(host, _MPM, _workers(1, 5)), ExitStack() as stack:
        restart(host, "apache2")
        assert hold(stack, host, 5) == 5
        yield f"wss://{_HEALTHY}/ws"
    restart(host, "apache2")


@contextmanager
def old_children(host: LabHost) -> Iterator[str]:
    """Every place has a child of an earlier generation, which waits for its WebSocket."""
    with added(host, _MPM, _workers(3, 5)), ExitStack() as stack:
        restart(host, "apache2")
        for _ in range(3):
            assert hold(stack, host, 1) == 1
            host.sh("systemctl reload apache2")
        yield f"wss://{_HEALTHY}/ws"
    restart(host, "apache2")


@contextmanager
def apache_died(host: LabHost) -> Iterator[str]:
    """A reload needs a port that is in use."""
    more = added(host, "/etc/apache2/conf-enabled/more.conf", "Listen 9443\n")
    with occupied(host, 9443), more:
        host.sh("systemctl reload apache2 || true")
        until(lambda: host.sh("ss -Hltn 'sport = 443'") == "")
        yield f"wss://{_HEALTHY}/ws"
    restart(host, "apache2")


# --- HAProxy --------------------------------------------------------------------------------------

_HAPROXY_CFG = "/etc/haproxy/haproxy.cfg"
_EXTRA = """
frontend extra
    bind :29000 ssl crt /etc/tls/full.pem
    http-request del-header Upgrade unless { req.hdr(Upgrade) -i websocket }
    http-request del-header Upgrade if { req.hdr_cnt(Upgrade) gt 1 }
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Proto https
    default_backend extra
backend extra
    timeout queue 1s
    server app 127.0.0.1:9101 maxconn 2
"""


@contextmanager
def few_places(host: LabHost) -> Iterator[str]:
    """The server line's maxconn is reached."""
    with (
        changed(host, _HAPROXY_CFG, more=_EXTRA),
        ExitStack() as stack,
    ):
        restart(host, "haproxy")
        assert hold(stack, host, 2, f"extra.{DOMAIN}", 29000) == 2
        yield f"wss://extra.{DOMAIN}:29000/ws"
    restart(host, "haproxy")


@contextmanager
def haproxy_port_taken(host: LabHost) -> Iterator[str]:
    """A new frontend on a port that is in use."""
    more = _EXTRA.replace(":29000", ":29000,:9443")
    with (
        occupied(host, 9443),
        changed(host, _HAPROXY_CFG, more=more),
    ):
        host.sh("systemctl reload haproxy || true")
        until(lambda: "cannot bind" in host.sh("journalctl -u haproxy --no-pager").lower())
        yield f"wss://extra.{DOMAIN}:29000/ws"
    restart(host, "haproxy")


@contextmanager
def haproxy_piled_up(host: LabHost) -> Iterator[str]:
    """Reloads without a cap, with a WebSocket left in each generation."""
    # The first healthy twin of the cases has the second port (broken_cases.py).
    name, port = _HEALTHY, 20002
    with changed(host, _HAPROXY_CFG, ("hard-stop-after 1h", "")), ExitStack() as stack:
        restart(host, "haproxy")
        for generation in range(1, 5):
            assert hold(stack, host, 1, name, port) == 1
            host.sh("systemctl reload haproxy")
            until(lambda: int(host.sh("pgrep -c haproxy")) >= 2 + generation)  # noqa: B023
        yield f"wss://{name}:{port}/ws"
    restart(host, "haproxy")


STATES: Sequence[State] = (
    State(name="stopped", row=36, proxy="nginx", make=stopped, code="proxy-down"),
    # The twin of the one that died.
    State(name="stopped", row=36, proxy="apache", make=stopped, code="proxy-down"),
    State(name="map-missing", row=6, proxy="nginx", make=map_missing, code="map-missing"),
    State(name="port-taken", row=35, proxy="nginx", make=port_taken, code="reload-not-taken"),
    State(
        name="old-workers",
        row=32,
        proxy="nginx",
        make=piled_up,
        code="drain-uncapped",
        severity="warning",
    ),
    State(
        name="few-connections",
        row=34,
        proxy="nginx",
        make=few_connections,
        code="connections-exhausted",
    ),
    State(name="few-files", row=34, proxy="nginx", make=few_files, code="files-exhausted"),
    State(name="few-threads", row=34, proxy="apache", make=few_threads, code="threads-exhausted"),
    State(name="old-children", row=33, proxy="apache", make=old_children, code="scoreboard-full"),
    State(name="died", row=36, proxy="apache", make=apache_died, code="apache-gone"),
    State(
        name="few-places",
        row=34,
        proxy="haproxy",
        make=few_places,
        code="connections-exhausted",
    ),
    State(
        name="port-taken",
        row=35,
        proxy="haproxy",
        make=haproxy_port_taken,
        code="reload-not-taken",
    ),
    State(
        name="old-workers",
        row=32,
        proxy="haproxy",
        make=haproxy_piled_up,
        code="drain-uncapped",
        severity="warning",
    ),
)
