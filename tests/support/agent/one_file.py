"""The agent of earlier versions: one file, which was called the runner.

`one_file_agent.py.xz` is ``deployer/remote/runner.py`` as it was last. Hosts may have what it left:
generations, commits under way, its watchdog. It runs here to leave just that.
"""

from __future__ import annotations

import lzma
import shlex
import sys
from functools import cache
from pathlib import Path
from typing import Any

from deployer.lab.host import LabHost
from tests.crash.faults import Fault
from tests.support.agent.process import AgentProcess

_BOOTSTRAP = (
    "import sys,json\n"
    "i=sys.stdin.buffer\n"
    "n,s=json.loads(i.readline())\n"
    "b=i.read(n)\n"
    "w={}\n"
    "exec(s.pop('prelude','wrap_all=lambda plan:None'),w)\n"
    "w['wrap_all'](s.pop('faults',None))\n"
    "exec(compile(b,'runner.py','exec'),"
    "{'__name__':'__main__','__source__':b,'__settings__':s})\n"
)


@cache
def source() -> bytes:
    """Its program, as it left it on hosts."""
    return lzma.decompress(Path(__file__).with_name("one_file_agent.py.xz").read_bytes())


def old_agent(world: Path, fault: Fault | None = None) -> AgentProcess:
    """One here, for the folders of `world`; under `fault`, if given."""
    settings = {
        "etc": str(world / "etc"),
        "var_lib": str(world / "var_lib"),
        "state": str(world / "var_lib/deployer"),
        "cache": str(world / "cache"),
        "watchdog": False,
        **(fault.settings() if fault else {}),
    }
    argv = [sys.executable, "-I", "-S", "-c", _BOOTSTRAP]
    return AgentProcess(argv, settings, body=source())


def old_agent_on(host: LabHost, **settings: Any) -> AgentProcess:
    """One on `host`, as root, over SSH."""
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
    argv = ["ssh", "-F", "none", "-i", str(host.key), *(f"-o{option}" for option in options)]
    command = f"python3 -I -c {shlex.quote(_BOOTSTRAP)}"
    return AgentProcess([*argv, f"root@{host.address}", command], settings, body=source())
