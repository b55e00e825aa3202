"""The hosts of the catalogue, and `deployer diagnose` as a function over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab, running
from deployer.model import CheckResult, Finding, Proxy
from deployer.run.diagnose import Request, diagnosed
from tests.integration.catalogue.broken_cases import PROXIES, Twin
from tests.integration.catalogue.broken_hosts import ROOT_PEM, serve
from tests.integration.catalogue.broken_states import State
from tests.support.waiting import stretched

#: How long a step of a diagnosis may take: those that hang cost as much.
_TIMEOUT_S = 3.0
_AT_ONCE = 6


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What `deployer diagnose` said of one address."""

    checks: tuple[CheckResult, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(check.finding for check in self.checks if check.finding is not None)

    def coded(self, code: str) -> Finding | None:
        """The finding of that code, the one that names a file if there is one."""
        found = [each for each in self.findings if each.code == code]
        return next((each for each in found if each.file), found[0] if found else None)

    @property
    def errors(self) -> set[str]:
        """The codes of what is wrong by all means."""
        return {each.code for each in self.findings if each.severity == "error"}

    def __str__(self) -> str:
        return "\n".join(
            f"{each.severity} {each.code} at {each.hop} {each.file}: {each.symptom}"
            f"\n    {each.cause}\n    or: {[other.code for other in each.alternatives]}"
            for each in self.findings
        )


@dataclass(frozen=True, slots=True)
class World:
    """A host for each proxy, which serves every case."""

    lab: Lab
    folder: Path
    hosts: Mapping[Proxy, LabHost]

    def diagnosed(
        self,
        host: LabHost,
        url: str,
        *,
        subprotocols: Sequence[str] = (),
        expect: str = "",
        inside: bool = True,
    ) -> Diagnosis:
        """``deployer diagnose URL --host …``, or from outside alone."""
        parts = urlsplit(url)
        ports = {80, 443, parts.port or 443}
        run = diagnosed(
            Request(
                url=url,
                subprotocols=tuple(subprotocols),
                expect=expect or None,
                resolve=tuple(f"{parts.hostname}:{port}:{host.address}" for port in ports),
                ca_bundle=self.folder / "root.pem",
                timeout_s=stretched(_TIMEOUT_S),
                host=host.name if inside else None,
                inventories=(self.folder / "inventory.yml",),
            )
        )
        return Diagnosis(tuple(check for report in run.hosts for check in report.checks))

    def twin(self, twin: Twin, *, inside: bool = True) -> Diagnosis:
        """The findings on one configuration."""
        return self.diagnosed(
            self.hosts[twin.proxy],
            twin.url,
            subprotocols=twin.subprotocols,
            expect=twin.expect,
            inside=inside,
        )

    def state(self, state: State) -> Diagnosis:
        """The findings on a host in that state, which is then fixed."""
        host = self.hosts[state.proxy]
        with state.make(host) as url:
            return self.diagnosed(host, url)


@contextmanager
def serving(folder: Path, name: str, twins: Sequence[Twin]) -> Iterator[World]:
    """The hosts, until the block ends."""
    with running(len(PROXIES), name=name) as lab:
        hosts = dict(zip(PROXIES, lab.hosts, strict=True))
        with ThreadPoolExecutor(len(hosts)) as pool:
            list(
                pool.map(
                    lambda proxy: serve(
                        proxy, hosts[proxy], [twin for twin in twins if twin.proxy == proxy]
                    ),
                    hosts,
                )
            )
        lab.write_inventory(folder / "inventory.yml")
        (folder / "root.pem").write_bytes(ROOT_PEM)
        yield World(lab, folder, hosts)


Job = Callable[[], Any]


class Jobs:
    """Everything that the tests ask for, carried out side by side from the beginning on.

    `at_once` do not affect others. Those `in_turn` change the host of a proxy, and begin when all
    others that have to do with that proxy are done with; a name says which it is.
    """

    def __init__(
        self, at_once: Mapping[str, Job], in_turn: Mapping[Proxy, Mapping[str, Job]]
    ) -> None:
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        self._chains = ThreadPoolExecutor(max(1, len(in_turn)))
        self._results: dict[str, Future[Any]] = {
            name: self._pool.submit(job) for name, job in at_once.items()
        }
        for proxy, jobs in in_turn.items():
            others = {*PROXIES} - {proxy}
            before = [
                future
                for name, future in self._results.items()
                if name in at_once and not any(other in name for other in others)
            ]
            self._results |= {name: Future() for name in jobs}
            self._chains.submit(self._chain, jobs, before)

    def of(self, name: str) -> Any:
        """What came of it, as soon as it is there."""
        return self._results[name].result()

    def _chain(self, jobs: Mapping[str, Job], before: Sequence[Future[Any]]) -> None:
        wait(before)
        for name, job in jobs.items():
            try:
                self._results[name].set_result(job())
            except BaseException as error:
                self._results[name].set_exception(error)

    def close(self) -> None:
        """Wait for what is under way."""
        self._pool.shutdown(cancel_futures=True)
        self._chains.shutdown()
