"""Connections that are opened while the playbook is still being read.

Most of a short run is waiting: for the host's part of the key exchange, its login, its Python. A
first look at the playbook is enough to begin with that. A connection that turns out to be the wrong
one is closed unused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Thread
from typing import TYPE_CHECKING

from deployer.errors import DeployerError
from deployer.model import Host

if TYPE_CHECKING:
    from deployer.transport import ConnectOptions, Link


class EarlyLinks:
    """Links by host, being opened."""

    def __init__(self) -> None:
        self._openings: dict[str, _Opening] = {}

    def open(self, hosts: Sequence[Host], options: Callable[[Host], ConnectOptions]) -> None:
        """Begin to connect to each of `hosts`; errors are raised by `take`."""
        from deployer.transport import preload

        for host in hosts:
            opening = _Opening(host, options(host))
            self._openings[host.name] = opening
            opening.start()
        if any(not host.is_local for host in hosts):
            preload()  # before anything else uses the time of this process

    @property
    def are_opening(self) -> bool:
        """Whether there is time to use before the links are open."""
        return any(opening.is_alive() for opening in self._openings.values())

    def take(self, host: Host, options: ConnectOptions) -> Link | None:
        """The link to `host`, once it is open; `None` if none was opened with these options.

        Raises:
            DeployerError: the host is unreachable.
        """
        opening = self._openings.pop(host.name, None)
        if opening is None:
            return None
        as_asked = replace(opening.options, become=options.become)
        if opening.host != host or as_asked != options:
            opening.give_up()
            return None
        link = opening.result()
        if opening.options.become != options.become and link.hello["uid"] != 0:
            link.close()  # the login may not be root; root needs no sudo
            return None
        return link

    def close(self) -> None:
        """Close the unused links."""
        for opening in self._openings.values():
            opening.give_up()
        self._openings.clear()


class _Opening(Thread):
    """One connection on its way."""

    def __init__(self, host: Host, options: ConnectOptions) -> None:
        super().__init__(name=f"connect {host.name}", daemon=True)
        self.host = host
        self.options = options
        self._link: Link | None = None
        self._error: DeployerError | None = None
        self._unwanted = False

    def run(self) -> None:
        from deployer.transport import connect

        try:
            self._link = connect(self.host, self.options)
        except DeployerError as error:
            self._error = error
        if self._unwanted:
            self._close()

    def result(self) -> Link:
        self.join()
        if self._error is not None:
            raise self._error
        assert self._link is not None, "a connection ends in a link or an error"  # noqa: S101
        return self._link

    def give_up(self) -> None:
        self._unwanted = True
        if not self.is_alive():
            self._close()

    def _close(self) -> None:
        if self._link is not None:
            self._link.close()
