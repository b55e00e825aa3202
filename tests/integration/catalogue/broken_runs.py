"""The command itself on hosts that were not deployed with it; faults that take time to show."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from deployer.model import Proxy
from tests.integration.catalogue.broken_cases import DOMAIN, PROXIES, Twin
from tests.integration.catalogue.broken_states import changed, restart
from tests.integration.catalogue.broken_world import World
from tests.integration.catalogue.scripted_services import PORTS
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE_S, until

#: Where the relay listens: a loopback address of this machine that nothing else uses.
RELAY = "127.6.29.1"
_LIMIT = "12s"


def playbook(world: World, name: str, sites: Mapping[Proxy, Sequence[str]]) -> Path:
    """The sites, written as if a connection may be idle for an hour."""
    plays = [
        {
            "hosts": world.hosts[proxy].name,
            "sites": [
                {
                    "domain": f"{site}-{proxy}.{DOMAIN}",
                    "proxy": proxy,
                    "tls": {"issuer": "none"},
                    "routes": [
                        {
                            "path": "/ws",
                            "websocket": f"http://127.0.0.1:{PORTS['silent']}",
                            "idle_timeout": "1h",
                        }
                    ],
                }
                for site in names
            ],
        }
        for proxy, names in sites.items()
    ]
    path = world.folder / f"{name}.yml"
    path.write_text(yaml.safe_dump(plays))
    return path


def started(world: World, *arguments: str) -> subprocess.Popen[str]:
    """The command with these arguments, in the background."""
    return subprocess.Popen(
        [sys.executable, "-m", "deployer", *arguments, "--json"],
        cwd=world.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def ended(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """The findings of a run, once it has ended."""
    out, err = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in err, err
    found: list[dict[str, Any]] = json.loads(out)["findings"]
    return found


def reported(world: World, twin: Twin) -> tuple[int, list[dict[str, Any]]]:
    """The exit code of ``deployer diagnose``, and what it finds."""
    host = world.hosts[twin.proxy]
    process = started(
        world,
        *("diagnose", twin.url, "--host", host.name, "-i", "inventory.yml"),
        *("--resolve", f"{twin.name}.{DOMAIN}:{twin.port}:{host.address}"),
        *("--ca-bundle", "root.pem"),
    )
    found = ended(process)
    return process.returncode, found


def silences(world: World) -> list[dict[str, Any]]:
    """What ``verify --idle`` finds at all hosts, the one that is behind a relay among them."""
    sites: dict[Proxy, Sequence[str]] = dict.fromkeys(PROXIES, ("short", "long"))
    sites["nginx"] = ("short", "long", "front")
    path = playbook(world, "silence", sites)
    ways = []
    for proxy, host in world.hosts.items():
        for site in sites[proxy]:
            address = RELAY if (site, proxy) == ("front", "nginx") else host.address
            ways += ["--resolve", f"{site}-{proxy}.{DOMAIN}:80:{address}"]
    with relay(world.hosts["nginx"].address):
        return ended(started(world, "verify", str(path), "--idle", "--idle-limit", _LIMIT, *ways))


@contextmanager
def relay(address: str, patience_s: float = 4.0) -> Iterator[None]:
    """Something before the host that hangs up on those who are silent."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((RELAY, 80)))

        def pump(source: socket.socket, sink: socket.socket) -> None:
            try:
                while data := source.recv(65536):
                    sink.sendall(data)
            except OSError:
                pass  # that is the silence
            for line in (source, sink):
                with suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                server = socket.create_connection((address, 80))
                for line in (client, server):
                    line.settimeout(patience_s)
                    stack.callback(line.close)
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)


_DRAINS: dict[Proxy, tuple[str, str, str]] = {
    "nginx": ("/etc/nginx/nginx.conf", "worker_shutdown_timeout 1h", "worker_shutdown_timeout 1s"),
    "haproxy": ("/etc/haproxy/haproxy.cfg", "hard-stop-after 1h", "hard-stop-after 1s"),
}


def reloaded(world: World, proxy: Proxy, *, cap: bool) -> list[dict[str, Any]]:
    """What ``verify --load`` finds where the proxy is reloaded meanwhile, `cap` with one of 1 s."""
    host = world.hosts[proxy]
    path, old, new = _DRAINS[proxy]
    with changed(host, path, (old, new if cap else old)):
        if cap:
            restart(host, proxy)
        book = playbook(world, f"drain-{proxy}-{cap}", {proxy: ["long"]})
        process = started(world, "verify", str(book), "--load", "3", "--hold", "5s", "--no-public")
        # The checks come from the host itself, the load from here.
        count = f"ss -Htn state established 'sport = 80 and src {host.address}' | wc -l"
        until(lambda: int(host.sh(count)) >= 3)
        host.sh(f"systemctl reload {proxy}")
        found = ended(process)
    if cap:
        restart(host, proxy)
    return found
