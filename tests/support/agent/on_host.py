"""The real agent on a rehearsal host, over plain ssh."""

from __future__ import annotations

import shlex
from typing import Any

from deployer.lab.host import LabHost
from tests.support.agent.process import BOOTSTRAP, AgentProcess


def agent_on(host: LabHost, **settings: Any) -> AgentProcess:
    """An agent on `host`, as root, with a channel of its own."""
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
    argv = ["ssh", "-F", "none", "-i", str(host.key), *(f"-o{option}" for option in options)]
    command = f"python3 -I -c {shlex.quote(BOOTSTRAP)}"
    return AgentProcess([*argv, f"root@{host.address}", command], settings)
