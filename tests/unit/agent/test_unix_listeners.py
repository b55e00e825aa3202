"""Unix sockets that a stopped process leaves behind."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from deployer.agent.unix_listeners import remove_stale, unix_listeners


def test_what_no_process_listens_on_is_removed(tmp_path: Path) -> None:
    left, used, file = (str(tmp_path / name) for name in ("left", "used", "file"))
    Path(file).touch()
    with socket.socket(socket.AF_UNIX) as stopped, socket.socket(socket.AF_UNIX) as running:
        stopped.bind(left)
        stopped.listen()
        running.bind(used)
        running.listen()
        assert {left, used} <= set(unix_listeners(os.getpid()))
        stopped.close()
        assert left not in unix_listeners(os.getpid())
        remove_stale([left, used, file, str(tmp_path / "none")])
        assert {each.name for each in tmp_path.iterdir()} == {"file", "used"}
