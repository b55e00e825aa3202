"""The start of a session with a controller."""

from __future__ import annotations

import os
import signal
import sys

from deployer.agent.channel import Channel
from deployer.agent.settings import PROTOCOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def main(program: Callable[[], bytes]) -> None:
    """Greet the controller and serve it; `program` returns the agent as a zip file.

    Standard input and output become the channel, and children get others.
    """
    channel = Channel(os.dup(0), os.dup(1))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    os.umask(0o022)
    for number in (signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    try:
        os.setsid()
    except OSError:
        pass  # it is a session leader already
    os.chdir("/")
    version = ".".join(map(str, sys.version_info[:3]))
    channel.send({"hello": PROTOCOL, "python": version, "uid": os.geteuid(), "pid": os.getpid()})
    # Import it while the first request is on its way.
    from deployer.agent.serve import Agent

    Agent(channel, program).run()
