"""How each proxy treats idle connections and too many of them; thousands while it is reloaded."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deployer.lab.host import LabHost
from deployer.lab.lab import running
from tests.support.paths import PROGRAMS
from tests.support.runs import Ran, deployer
from tests.support.waiting import PATIENCE_S, at_most, until

pytestmark = pytest.mark.lab

PLAYBOOK = """
- hosts: all
  become: true
  vars: {apache_max_connections: 64, haproxy_maxconn: 60}
  sites:
    - domain: ws.example.com
      proxy: "{{ {'web1': 'nginx', 'web2': 'apache', 'web3': 'haproxy'}[inventory_hostname] }}"
      tls: {issuer: none}
      routes:
        - path: /pinged
          websocket: http://127.0.0.1:9002
          idle_timeout: 60s
          ping_interval: 1s
"""
_SILENT = """\
        - path: /silent
          websocket: http://127.0.0.1:9001
          idle_timeout: 3s
"""
_SERVICES = """
for port in 9001 '9002 1'; do
    systemd-run --quiet -p LimitNOFILE=20000 python3 /root/crowd_service.py $port
done
"""
_NGINX = """
sed -i 's/worker_connections .*/worker_connections 8192;/' /etc/nginx/nginx.conf
echo 'worker_rlimit_nofile 20000;' > /etc/nginx/modules-enabled/99-files.conf
systemctl restart nginx
"""
#: Changes one place of nginx's file by hand.
_EDIT = "sed -i 's/proxy_read_timeout *{old};/proxy_read_timeout {new};/' {file}; nginx -s reload"
_FILE = "/etc/nginx/sites-available/ws.example.com.conf"


@dataclass(frozen=True, slots=True)
class World:
    """A project in `folder`, on three hosts with a proxy each and the services behind them."""

    folder: Path
    hosts: Sequence[LabHost]

    def run(self, playbook: str, *arguments: str, command: str = "verify") -> Ran:
        files = (self.folder / playbook, "-i", self.folder / "inventory.yml")
        return deployer(command, *files, "--json", *arguments, timeout_s=PATIENCE_S)

    def loaded(self, host: str, number: int, **options: str) -> tuple[int, dict[str, Any]]:
        """The exit code of a load of one host, and what it came to, with its findings."""
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        ran = self.run("crowd.yml", "-l", host, "--no-public", "--load", str(number), *words)
        document = ran.document
        assert document["hosts"][host].get("load"), ran
        (load,) = document["hosts"][host]["load"]
        return ran.code, {**load, "findings": document["findings"]}


@pytest.fixture(scope="module")
def world(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("crowd")
    service = (PROGRAMS / "crowd_service.py").read_text()
    with running(3, name=f"crowd-{os.getpid()}") as lab:
        (folder / "site.yml").write_text(PLAYBOOK + _SILENT)
        (folder / "crowd.yml").write_text(PLAYBOOK)  # a part of the same: who is silent is cut
        lab.write_inventory(folder / "inventory.yml")
        for host in lab.hosts:
            host.exec(["tee", "/root/crowd_service.py"], stdin=service)
            host.sh(_SERVICES)
        made = World(folder, lab.hosts)
        applied = made.run("site.yml", "--yes", command="apply")
        assert applied.code == 0, applied
        lab.hosts[0].sh(_NGINX)
        yield made


def test_each_hop_is_left_idle_until_it_cuts(world: World) -> None:
    nginx = world.hosts[0]
    nginx.sh(_EDIT.format(old="1m", new="500ms", file=_FILE))
    began = time.monotonic()
    ran = world.run("site.yml", "--idle", "--idle-limit", "90s", "--no-public")
    nginx.sh(_EDIT.format(old="500ms", new="1m", file=_FILE))
    assert time.monotonic() - began < at_most(60), "no check waits for the limit"
    for name, host in ran.document["hosts"].items():
        pinged, silent = host["idle"]
        hops = {each["hop"]: each for each in silent["hops"]}
        assert hops["backend"]["outcome"] == "open", (name, silent)
        assert hops["proxy"]["outcome"] == "cut", (name, silent)
        assert 2.9 < hops["proxy"]["seconds"] < 3 + at_most(1.5), (name, silent)
        assert silent["shortest"] == "proxy"
        (configured,) = silent["configured"]
        assert configured["seconds"] == 3.0, (name, silent)
        assert configured["file"].startswith("/etc/"), (name, silent)
        if name != "web1":
            assert host["state"] == "healthy", (name, host)
            assert {each["outcome"] for each in pinged["hops"]} == {"kept-awake"}
            assert pinged["measured_ping_interval_s"] == pytest.approx(1.0, abs=at_most(0.3))
    # nginx cuts after half a second what comes once a second: someone changed it by hand.
    (cut,) = [each for each in ran.document["findings"] if each["severity"] == "error"]
    assert (cut["host"], cut["code"], cut["hop"]) == ("web1", "idle-cut", "proxy")
    assert "proxy_read_timeout 500ms" in cut["cause"]
    assert cut["file"].startswith("/etc/nginx/sites-enabled/ws.example.com")
    assert ran.code == 3


@pytest.mark.parametrize("count", [1000, pytest.param(5000, marks=pytest.mark.slow)])
def test_thousands_with_a_reload_in_the_middle_and_hosts_that_are_too_small(
    world: World, count: int
) -> None:
    nginx, apache, haproxy = world.hosts

    def reload() -> None:
        """As soon as a quarter is open."""
        until(
            lambda: int(nginx.sh("ss -Htn state established 'sport = :80' | wc -l")) >= count // 4
        )
        nginx.sh("systemctl reload nginx")

    with ThreadPoolExecutor(4) as pool:
        many = pool.submit(world.loaded, nginx.name, count, rate=str(count // 10), hold="1s")
        threads = pool.submit(world.loaded, apache.name, 200, hold="1s")
        places = pool.submit(world.loaded, haproxy.name, 200, hold="1s")
        pool.submit(reload).result()

    code, load = many.result()
    assert code == 0, [load[key] for key in ("failed", "ended", "change", "stopped", "findings")]
    assert (load["opened"], load["most_open"], load["answered_at_the_end"]) == (count, count, count)
    assert (load["failures"], load["losses"], load["unanswered"]) == (0, 0, 0)
    assert load["change"]["what"] == "reloaded", load
    assert load["change"]["leaving"] >= 1, "those of before hold what was open then"
    assert 0 < load["change"]["at_s"] < load["ramp_s"] + load["held_s"]
    assert load["pings"]["count"] >= 2 * count
    assert load["limits"][0]["name"] == "worker_connections 8192"

    for found, reached, word in (
        (threads.result(), 64, "threads-exhausted"),
        (places.result(), 60, "connections-exhausted"),
    ):
        code, load = found
        assert code == 3, load
        assert reached - 3 <= load["most_open"] <= reached, load
        assert load["tried"] < 200 or load["failures"] > 50, load
        (finding,) = load["findings"]
        assert (finding["code"], finding["hop"]) == (word, "proxy"), finding
        assert str(reached) in finding["cause"], finding
        assert finding["file"].startswith("/etc/"), finding
