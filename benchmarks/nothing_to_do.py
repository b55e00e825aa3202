"""Measure a run without changes, and ``ssh HOST true`` in the same rounds.

    python benchmarks/nothing_to_do.py SITE.yml INVENTORY HOST [ROUNDS]

Runs whole processes alternately; prints medians in seconds, and the median of the ratios. The
playbook must already be applied, and ssh must be able to log in with the inventory's key.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from deployer.playbook import load_inventory


def main() -> None:
    site, inventory, name = sys.argv[1:4]
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 15
    host = load_inventory([Path(inventory)]).hosts[name]
    ssh = ["ssh", "-o", "BatchMode=yes", "-p", str(host.port)]
    if key := host.vars.get("ansible_ssh_private_key_file"):
        ssh += ["-i", key]
    if known_hosts := host.vars.get("deployer_known_hosts_file"):
        ssh += ["-o", f"UserKnownHostsFile={known_hosts}"]
    target = f"{host.user}@{host.hostname}" if host.user else host.hostname
    commands = (
        [*ssh, target, "true"],
        [sys.executable, "-m", "deployer", "apply", site, "-i", inventory, "-l", name, "--yes"],
    )
    times = [[seconds(command) for command in commands] for _ in range(rounds)]
    bare, whole = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(whole / bare for bare, whole in times)
    print(f"ssh {name} true   {bare:.3f}")
    print(f"deployer apply    {whole:.3f}")
    print(f"ratio             {ratio:.2f}")


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)
    return time.perf_counter() - started


main()
