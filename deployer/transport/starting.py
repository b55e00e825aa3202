"""From a started program to an agent that has sent its greeting."""

from __future__ import annotations

from deployer.errors import HostError, UnreachableError
from deployer.transport.bootstrap import Bootstrap
from deployer.transport.command import Elevation
from deployer.transport.framing import Message
from deployer.transport.link import Link
from deployer.transport.refusal import Ended

_DOING = "starting the agent"
#: How long the end of a program that takes no more input may take to be seen.
_END_S = 5.0


def start_agent(
    link: Link, bootstrap: Bootstrap, *, elevation: Elevation, timeout_s: float
) -> None:
    """Lead the dialogue until the agent's greeting, and keep that in `link`.

    Each answer of the host may take `timeout_s`.

    Raises: AuthenticationError, NoPythonError, UnreachableError.
    """
    start = _Start(link, elevation=elevation, timeout_s=timeout_s)
    if elevation.password is not None:
        start.become_root()
    greeting = start.ask(bootstrap.loader)
    if greeting.get("bootstrap") == "need":
        greeting = start.ask(bootstrap.payload)
    if greeting.get("bootstrap") == "old":
        raise UnreachableError(
            f"the host's python3 is {greeting['python']}; 3.8 or newer is required",
            host=link.host.name,
            doing=_DOING,
            hint="Install a newer python3 on the host.",
        )
    if greeting.get("hello") != 1:
        raise UnreachableError(
            f"the agent uses an unsupported protocol version: {greeting}",
            host=link.host.name,
            doing=_DOING,
        )
    link.hello = greeting


class _Start:
    def __init__(self, link: Link, *, elevation: Elevation, timeout_s: float) -> None:
        self._link = link
        self._elevation = elevation
        self._timeout_s = timeout_s

    def become_root(self) -> None:
        """Answer sudo; the program's first message shows that it has begun."""
        link = self._link
        try:
            self._elevation.give_password(
                link.process, has_begun=link.has_greeting, timeout_s=self._timeout_s
            )
        except (OSError, EOFError):
            raise self._failure("becoming root", is_closed=True) from None
        if not link.has_greeting():
            raise self._failure("becoming root")
        link.greeting(0)

    def ask(self, data: bytes) -> Message:
        """Send `data`, and return the host's answer."""
        try:
            self._link.process.write(data)
        except (OSError, EOFError):
            raise self._failure(_DOING, is_closed=True) from None
        greeting = self._link.greeting(self._timeout_s)
        if greeting is None:
            raise self._failure(_DOING)
        return greeting

    def _failure(self, doing: str, *, is_closed: bool = False) -> HostError:
        """The error for a missing greeting; `is_closed` if the program takes no more input."""
        link, process, elevation = self._link, self._link.process, self._elevation
        if is_closed:  # its end, and what it printed, may not be read yet
            process.wait(lambda: process.has_ended, min(_END_S, self._timeout_s))
        if link.garbage:
            return UnreachableError(
                f"the host prints text instead of starting the agent: {link.garbage!r}",
                host=link.host.name,
                doing=doing,
                hint=f"Does a start-up file of {elevation.user}'s shell, such as ~/.bashrc, print "
                "it? It must not do so without a terminal.",
            )
        if process.has_ended:
            status = process.exit_status(1.0)
            if status is None and not process.is_connected():
                return UnreachableError("the connection broke", host=link.host.name, doing=doing)
            said = elevation.without_prompt(process.errors(wait_s=1.0))
            return Ended(elevation=elevation, status=status, said=said).error()
        said = elevation.without_prompt(process.errors())
        return UnreachableError(
            f"no answer within {self._timeout_s:g} s" + (f"; it printed: {said}" if said else ""),
            host=link.host.name,
            doing=doing,
        )
