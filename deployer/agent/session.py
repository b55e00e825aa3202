"""The session with a controller, as the requests see it. For type checkers alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from deployer.agent.channel import Channel
from deployer.agent.children import Children
from deployer.agent.commit.state_folder import StateFolder
from deployer.agent.settings import Json


class Reporter(Protocol):
    """What a revert needs: `standalone` has one without a controller."""

    #: The last commit that this process has worked on.
    made_commit: str

    @property
    def state(self) -> StateFolder:
        """The state folder of this host."""

    def event(self, name: str, **details: Any) -> None:
        """Send an event of the current request."""

    def step(
        self, n: int, total: int, resource_id: str, action: str, *, seconds: float | None = None
    ) -> None:
        """Report that a step starts or, with `seconds`, that it is done."""


class Session(Reporter, Protocol):
    """A connection to one controller."""

    #: Takes messages that are neither requests nor for a relay.
    on_word: Callable[[Json], None]
    #: What the current step obtained that a revert does not remove.
    kept: list[str]

    @property
    def channel(self) -> Channel:
        """The channel to the controller."""

    @property
    def children(self) -> Children:
        """Programs that end when the controller disconnects."""

    @property
    def program(self) -> bytes:
        """The agent as a zip file, for the watchdog."""

    def ask(self, question: Json, *, limit_s: float) -> Json:
        """The controller's answer to a question during a request."""
