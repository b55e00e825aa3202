"""The modules of each proxy's folder, as others see them. For type checkers alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployer.agent.proxies.connections import Worker
    from deployer.agent.proxies.files import FileReader, Hurry
    from deployer.agent.proxies.readiness import Loading
    from deployer.agent.reloads import ProxyReload
    from deployer.agent.services import Systemd
    from deployer.agent.settings import Json


class Workers(Protocol):
    """``workers``."""

    def current_workers(self, main: int) -> Iterator[int]:
        """The children of the main process that use the configuration loaded last."""

    def read_ns(self, main: int) -> int | None:
        """When it last read its configuration, by the wall clock; 0 if unknown.

        `None` if its workers show that.
        """


class Reload(Protocol):
    """``reload``."""

    def watch(self, systemd: Systemd, unit: str, main: int) -> ProxyReload:
        """Determines whether the next reload is taken."""


class Readiness(Protocol):
    """``readiness``."""

    def check(self, loading: Loading) -> None:
        """Raises: StepError: it cannot load its configuration."""


class Slots(Protocol):
    """``slots``, of a proxy that has them."""

    def places(self, loading: Loading) -> tuple[int, list[Json]]:
        """How many process slots it has, and the children that would stay after a reload."""


class Connections(Protocol):
    """``connections``."""

    def websockets(self, worker: Worker, main: int) -> int:
        """How many WebSockets a worker has."""

    def clients(self, worker: Worker) -> list[str]:
        """The addresses of the connections of clients."""

    def drain_s(self) -> float | None:
        """For how long connections may stay open after a reload; `None` if there is no limit."""


class Shared(Protocol):
    """``shared``, of a proxy that has the sites of all playbooks in one file.

    What is below the line `LINE` of that file is hand-written.
    """

    LINE: str

    def read(self, file: str) -> Json:
        """What a new version of `file` has to keep.

        ``sites``: the files of sites, content by path, or `None` if the sites have no files yet;
        ``kept``: the hand-written end of `file`.

        Raises:
            OSError: a file cannot be read.
        """


class Inspection(Protocol):
    """``inspect``."""

    #: Possible paths of its program.
    PROGRAMS: tuple[str, ...]

    def ask(self, children: Hurry, program: str, main: int, reader: FileReader) -> Json:
        """Version, configuration, the result of its configuration test, and its log files."""

    def is_leaving(self, worker: Json, main: int, title: str) -> bool:
        """Whether a child only serves an earlier configuration."""
