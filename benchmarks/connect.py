"""Measure the parts of a connection, and ``ssh HOST true`` in the same run.

    python benchmarks/connect.py INVENTORY HOST [ROUNDS]

The inventory is one of `deployer lab up`. Rounds are interleaved; the output has medians and minima
in seconds. "whole process" starts Python, connects, requests the facts and ends.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from deployer.model import Host
from deployer.transport import ConnectOptions, connect

_WHOLE = """
from deployer.model import Host
from deployer.transport import ConnectOptions, connect
link = connect(Host(name="host", hostname={hostname!r}, user={user!r}, vars={variables!r}),
               ConnectOptions())
link.request("facts", packages=[])
link.close()
"""


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def main(inventory: str, name: str, rounds: int) -> None:
    document = yaml.safe_load(Path(inventory).read_text())["all"]
    variables = {**document["vars"], **document["hosts"][name]}
    hostname, user = variables["ansible_host"], variables["ansible_user"]
    host = Host(name=name, hostname=hostname, user=user, vars=variables)
    key, known = variables["ansible_ssh_private_key_file"], variables["deployer_known_hosts_file"]
    ssh = ["ssh", "-F", "none", "-i", key, "-o", f"UserKnownHostsFile={known}"]
    whole = _WHOLE.format(hostname=hostname, user=user, variables=variables)
    nothing = [sys.executable, "-c", "from deployer.transport import preload; preload()"]
    seconds: dict[str, list[float]] = defaultdict(list)

    def note(part: str, work: Callable[[], Any]) -> Any:
        took, result = timed(work)
        seconds[part].append(took)
        return result

    for _ in range(rounds + 1):
        note(
            "ssh host true",
            lambda: subprocess.run([*ssh, f"{user}@{hostname}", "true"], check=True),
        )
        note("whole process", lambda: subprocess.run([sys.executable, "-c", whole], check=True))
        note("import alone", lambda: subprocess.run(nothing, check=True))
        link = note("connect to hello", lambda: connect(host, ConnectOptions()))
        facts = partial(link.request, "facts", packages=[])
        note("facts", facts)
        note("facts again", facts)
        note("close", link.close)
    for part, taken in seconds.items():
        del taken[0]  # fills caches
        print(f"{part:20} median {statistics.median(taken):.4f}  min {min(taken):.4f}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 10)
