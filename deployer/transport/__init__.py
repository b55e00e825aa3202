"""The connection to a host, and the only user of Fabric and Paramiko.

`connect` opens one SSH connection, starts the agent in one of its exec channels, and returns a
`Link`: requests to the agent, and streams to addresses that only the host can reach. Importing this
is cheap; Fabric is imported when an SSH host is connected to, or by `preload`.
"""

from __future__ import annotations

from deployer.transport.connecting import connect
from deployer.transport.heavy import preload
from deployer.transport.link import Link
from deployer.transport.options import ConnectOptions
from deployer.transport.streams import Stream

__all__ = ["ConnectOptions", "Link", "Stream", "connect", "preload"]
