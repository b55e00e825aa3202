"""Connect to a host and diagnose it from the inside, regardless of who set it up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from deployer.commit.running_proxies import inspected
from deployer.diagnose.handshake_variants import HandshakeOptions
from deployer.diagnose.inside import Inside, diagnose_stages
from deployer.diagnose.merge import merge_results
from deployer.errors import UsageError
from deployer.model import CheckResult, Host
from deployer.verify.net.access import Access
from deployer.verify.net.address import Address
from deployer.verify.net.stream import Deadline

if TYPE_CHECKING:
    from deployer.transport import ConnectOptions, Link

_EXAMPLE = "Example: --host admin@192.0.2.7, or with -i a name in the inventory"
_WORD = re.compile(
    r"(?:(?P<user>[^@\s]+)@)?(?P<name>\[[0-9A-Fa-f:.]+\]|[^:@\s\[\]]+)(?::(?P<port>\d+))?"
)
#: The time limit for all checks on the host, in timeouts of one step.
_STEPS = 6


def host_from(text: str, inventories: Sequence[Path] = ()) -> Host:
    """Return the host of ``--host``: one in the inventory, or ``user@server:port``.

    Raises: UsageError.
    """
    if inventories:
        from deployer.playbook import load_inventory

        known = load_inventory(inventories).hosts.get(text)
        if known is not None:
            return known
    found = _WORD.fullmatch(text)
    port = int(found["port"] or 22) if found else 0
    if found is None or found["name"].startswith("-") or not 0 < port < 65536:
        raise UsageError(
            f"--host {text}: not of the form USER@SERVER; no host was touched", hint=_EXAMPLE
        )
    name = found["name"].strip("[]")
    return Host(name=name, hostname=name, port=port, user=found["user"])


class HostDiagnosis:
    """A context manager that connects to a host and inspects it once.

    Raises, when entered: UnreachableError, HostError, UsageError.
    """

    def __init__(self, host: Host, options: ConnectOptions) -> None:
        self._host = host
        self._options = options
        self._link: Link | None = None
        self.notes: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        from deployer.transport import connect

        self._link = connect(self._host, self._options)
        try:
            self._inspection = inspected(self._link)
        except BaseException:
            self._link.close()
            raise
        self.notes = self._inspection.notes
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._link is not None:
            self._link.close()

    def diagnose(
        self, asked: Sequence[tuple[Address, HandshakeOptions]], outside: Sequence[CheckResult]
    ) -> tuple[CheckResult, ...]:
        """Add the results on the host to those from `outside` for the same addresses."""
        checks = tuple(outside)
        for address, options in asked:
            inside = self._diagnose(address, options)
            self.notes = tuple(dict.fromkeys((*self.notes, *inside.notes)))
            checks = merge_results(checks, inside, address, self._inspection)
        return checks

    def _diagnose(self, address: Address, options: HandshakeOptions) -> Inside:
        link = self._link
        assert link is not None, "the context manager is entered first"  # noqa: S101 - for mypy
        timeout_s = self._options.connect_timeout_s

        def access() -> Access:
            until = Deadline(_STEPS * timeout_s)
            return Access(dial=link.open_stream, timeout_s=timeout_s, until=until)

        return diagnose_stages(self._inspection, address, options, access)
