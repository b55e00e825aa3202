"""A real Chromium without a window, told what to do over its debugging protocol.

Certificates are checked as on anybody's machine: what it trusts besides is in a certificate store
of its own, and no error is ignored. Names are looked up in a table, so that no DNS is asked.

Source: https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

TIME_LIMIT_S = 20.0
#: Settles when CONDITION holds: at once, or after a change of the page.
_UNTIL = """
new Promise(settle => {
    const look = () => { const found = (CONDITION); if (found) settle(found); };
    new MutationObserver(look).observe(
        document, {subtree: true, childList: true, attributes: true, characterData: true});
    look();
})
"""


class Page:
    """One tab. `events` are what has happened in it, by the protocol's names, oldest first."""

    def __init__(self, devtools: ClientConnection) -> None:
        self._devtools = devtools
        self._number = 0
        self._session: str | None = None
        self.events: list[tuple[str, dict[str, Any]]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.events.clear()
        for domain in ("Page", "Network", "Runtime"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """One request of the protocol, and its answer."""
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._number, "method": method, "params": params, **session}
        self._devtools.send(json.dumps(message))
        deadline = time.monotonic() + TIME_LIMIT_S
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result

    def wait_for(self, name: str) -> None:
        """Return when an event of that name has happened."""
        deadline = time.monotonic() + TIME_LIMIT_S
        while not self.happened(name):
            self._next(deadline)

    def _next(self, deadline: float) -> dict[str, Any]:
        """What comes next, an answer or an event; events are noted."""
        message: dict[str, Any] = json.loads(self._devtools.recv(deadline - time.monotonic()))
        if "method" in message and message.get("sessionId") == self._session:
            self.events.append((message["method"], message["params"]))
        return message

    def open(self, url: str) -> None:
        """Go to `url`, which must not be met with an error page."""
        went = self.ask("Page.navigate", url=url)
        assert "errorText" not in went, (url, went["errorText"])
        self.wait_for("Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """The value of a piece of JavaScript in the page, once it is there."""
        answer = self.ask(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str) -> Any:
        """The first value of `condition` that is true, now or when the page has changed."""
        return self.evaluate(_UNTIL.replace("CONDITION", condition))

    def happened(self, name: str) -> list[dict[str, Any]]:
        """What is known of each event of that name."""
        return [params for each, params in self.events if each == name]


@contextmanager
def chromium(folder: Path, *, trust: Path, addresses: Mapping[str, str]) -> Iterator[Page]:
    """A tab of a browser that trusts the root `trust` too and knows where names lead to.

    `folder` is for what the browser writes.
    """
    program = shutil.which("chromium")
    assert program, "chromium is missing: see tests/machine.sh"
    profile = folder / "profile"
    _trust(folder, trust)
    rules = ", ".join(f"MAP {name} {address}" for name, address in addresses.items())
    command = [
        program,
        "--headless=new",
        "--no-sandbox",  # which root cannot have; the pages are our own
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--password-store=basic",
        f"--user-data-dir={profile}",
        f"--host-resolver-rules={rules}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--remote-debugging-port=0",
        "about:blank",
    ]
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "HOME": str(folder)},
            start_new_session=True,
        )
    try:
        with connect(_devtools(process, folder), max_size=None, proxy=None) as devtools:
            yield Page(devtools)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=TIME_LIMIT_S)


def _trust(folder: Path, root: Path) -> None:
    """The certificate store that Chromium looks into, below its HOME."""
    store = folder / ".pki/nssdb"
    store.mkdir(parents=True)
    for arguments in (
        ["-N", "--empty-password"],
        ["-A", "-n", "root", "-t", "C,,", "-i", str(root)],
    ):
        subprocess.run(
            ["certutil", "-d", f"sql:{store}", *arguments], check=True, timeout=TIME_LIMIT_S
        )


def _devtools(process: subprocess.Popen[bytes], folder: Path) -> str:
    """Where the browser listens, which it writes down when it does."""
    deadline = time.monotonic() + TIME_LIMIT_S
    written = folder / "profile/DevToolsActivePort"
    while time.monotonic() < deadline and process.poll() is None:
        lines = written.read_text().splitlines() if written.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.02)
    raise AssertionError((folder / "chromium.log").read_text(errors="replace"))
