"""Starts the agent of `scripted_agent.py`: the real start, with a different main module."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from deployer.agent.bundle import sources, zip_of
from deployer.transport.bootstrap import Bootstrap


def archive() -> bytes:
    """The zip file."""
    script = Path(__file__).with_name("scripted_agent.py").read_bytes()
    start = "deployer/agent/start.py"
    return zip_of(
        {
            start: sources()[start],
            "deployer/__init__.py": b"",
            "deployer/agent/__init__.py": b"",
            "deployer/agent/main.py": script,
        }
    )


def scripted(cache_folder: Path) -> Bootstrap:
    """A bootstrap that keeps the compiled code in `cache_folder`."""
    digest = sha256(archive()).hexdigest()
    return Bootstrap(digest, archive, cache_folder=str(cache_folder))
