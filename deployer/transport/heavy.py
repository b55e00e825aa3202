"""The import of Fabric and Paramiko, which is the largest part of a short run.

Measured: 115 ms by default, 78 ms like this. One half of the difference is Invoke's own copy of
PyYAML, the other `unittest.mock`, which imports asyncio.
"""

from __future__ import annotations

import sys
from threading import Lock
from types import ModuleType
from typing import Any

_importing = Lock()


def preload() -> None:
    """Import what an SSH connection needs; may be called early, in a thread, and repeatedly."""
    with _importing:
        if "fabric" in sys.modules:
            return
        _share_yaml()
        borrowed = _defer_mock()
        try:
            import fabric  # noqa: F401 - imported in advance
        finally:
            if borrowed is not None and sys.modules.get("unittest.mock") is borrowed:
                del sys.modules["unittest.mock"]
        import logging

        # Otherwise Python prints Paramiko's log of a lost connection to standard error.
        logging.getLogger("paramiko").addHandler(logging.NullHandler())


def _share_yaml() -> None:
    """Make Invoke use the installed PyYAML, as distributions do that package it."""
    import yaml

    sys.modules.setdefault("invoke.vendor.yaml", yaml)


def _defer_mock() -> ModuleType | None:
    """Let `invoke.context`, which offers a context for tests, import `unittest.mock` on use."""
    if "unittest.mock" in sys.modules:
        return None

    def mock(*args: object, **kwargs: Any) -> object:
        from unittest.mock import Mock

        return Mock(*args, **kwargs)

    deferred = ModuleType("unittest.mock")
    deferred.Mock = mock  # type: ignore[attr-defined]
    sys.modules["unittest.mock"] = deferred
    return deferred
