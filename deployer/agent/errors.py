"""How a request or a change ends when it does not succeed."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from deployer.agent.settings import Json


class Refusal(Exception):  # noqa: N818 - an answer
    """A request that ends with an error of docs/reference/protocol.md."""

    def __init__(self, code: str, message: str, **details: Any) -> None:
        super().__init__(code, message)
        self.reply: Json = {"code": code, "message": message, **details}


class StepError(Exception):
    """A change that failed; `output` is the output of the tool."""

    code = "step-failed"

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.output = output


class ConfigTestError(StepError):
    """A proxy's configuration test failed."""

    code = "config-test-failed"


class Gone(Exception):  # noqa: N818 - an event
    """The controller is gone: the commit must be reverted."""


def os_words(error: OSError) -> str:
    """The message of an `OSError`, without its number."""
    return os.strerror(error.errno) if error.errno else str(error)


_NAME_SIGNS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.+-_:@\\~")


def check_name(name: Any) -> str:
    """A name of a package, unit, user or commit: never an option, a path or a pattern.

    Raises:
        Refusal: it is none.
    """
    if not isinstance(name, str) or not name or name[0] in "-." or not _NAME_SIGNS.issuperset(name):
        raise Refusal("bad-request", f"{name!r} is not a name")
    return name
