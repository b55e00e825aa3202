"""Rehearsal hosts for tests: real Debian systems, a fresh one wherever a test asks for one."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from deployer.errors import LabError
from deployer.lab.host import LabHost
from deployer.lab.lab import Lab, running
from deployer.lab.requirements import require
from tests.support.lab_factory import LabFactory

_numbers = itertools.count(1)


def pytest_configure() -> None:
    """A termination ends the run as Ctrl-C does, so that every lab is taken down."""

    def ended(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt  # the summary still lists what failed

    signal.signal(signal.SIGTERM, ended)
    # Workers of pytest-xdist ignore SIGINT, and what they start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


#: Files, or folders whose files share hosts, that take longest: they begin first, so that none is
#: left alone at the end.
LONGEST_FIRST = (
    "tests/integration/conformance",
    "tests/crash/test_every_step.py",
    "tests/crash/test_interruptions.py",
    "tests/crash/test_every_operation.py",
    "tests/integration/certificates/test_changes.py",
    "tests/integration/certificates/test_newer_certbot.py",
    "tests/integration/certificates/test_issue_and_renew.py",
    "tests/integration/certificates/test_dns.py",
    "tests/integration/agent/test_packages_and_services.py",
    "tests/integration/proxies/test_moving.py",
    "tests/integration/certificates/test_bad_luck.py",
    "tests/integration/certificates/test_lets_encrypt.py",
    "tests/integration/agent/test_watchdog.py",
    "tests/integration/proxies/test_lost_reloads.py",
    "tests/integration/services/test_go.py",
    "tests/integration/services/test_chatwoot.py",
    "tests/integration/services/test_releases.py",
    "tests/integration/proxies/test_idle_and_load.py",
    "tests/integration/commit/test_bad_backends.py",
    "tests/integration/certificates/test_apache_and_haproxy.py",
    "tests/integration/commit/test_recover.py",
    "tests/integration/commit/test_bad_luck.py",
    "tests/integration/catalogue/test_catalogue.py",
    "tests/integration/cli/test_wheel.py",
    "tests/integration/proxies/test_running_proxies.py",
    "tests/integration/services/test_neko.py",
    "tests/integration/commit/test_rollback.py",
    "tests/integration/commit/test_apply.py",
    "tests/integration/run/test_sealed_plans.py",
    "tests/integration/cli/test_tasks.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests of `LONGEST_FIRST` before all others."""

    def rank(item: pytest.Item) -> int:
        scope = _scope_of(item.nodeid)
        return LONGEST_FIRST.index(scope) if scope in LONGEST_FIRST else len(LONGEST_FIRST)

    items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)  # pytest-xdist may not be there
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadfile``, one worker does all tests that share hosts."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByHosts(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _scope_of(nodeid)

        def _reschedule(self, node: Any) -> None:
            # A worker does not begin its last test before it knows what follows; two, as in the
            # class above, would give it a file that another worker could do meanwhile.
            if self.workqueue and self._pending_of(self.assigned_work[node]) > 1:
                return
            super()._reschedule(node)

    config.option.loadscopereorder = False
    return ByHosts(config, log)


def _scope_of(nodeid: str) -> str:
    """The file of a test, or its folder where the files there share hosts."""
    file = nodeid.partition("::")[0]
    folder = file.rpartition("/")[0]
    return folder if folder.endswith("/conformance") else file


@pytest.fixture(scope="session")
def machine() -> None:
    """Fails, in one line, where hosts cannot be booted; ``-m "not lab"`` leaves such tests out."""
    try:
        require()
    except LabError as error:
        pytest.fail(f"{error} (or run pytest with -m 'not lab')", pytrace=False)


@pytest.fixture
def labs(machine: None) -> Iterator[LabFactory]:
    """Boots a lab that lives as long as the test: ``labs(3)``, ``labs(1, image_name=…)``."""
    with ExitStack() as stack:

        def boot(count: int = 1, **options: Any) -> Lab:
            name = f"test-{os.getpid()}-{next(_numbers)}"
            return stack.enter_context(running(count, name=name, **options))

        yield boot


@pytest.fixture
def lab(labs: LabFactory) -> Lab:
    """A lab of one fresh host, for one test."""
    return labs(1)


@pytest.fixture
def host(lab: Lab) -> LabHost:
    """The host of `lab`."""
    return lab.hosts[0]


@pytest.fixture(scope="module")
def shared_lab(machine: None) -> Iterator[Lab]:
    """A lab of one host for the tests of a module that leave it as it was."""
    name = f"test-{os.getpid()}-{next(_numbers)}"
    with running(1, name=name) as lab:
        yield lab


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, as a user would."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
