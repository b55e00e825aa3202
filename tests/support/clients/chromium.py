"""A real Chromium without a window, controlled over its debugging protocol.

It runs in the network of a rehearsal host, as if on another machine there: a browser drops its
connections whenever a network comes or goes, and here hosts come and go all the time. Certificates
are checked as on anybody's machine: what it trusts besides is in a certificate store of its own,
and no error is ignored. Names are looked up in a table, so that no DNS is asked.

Source: https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from deployer.lab.host import LabHost

TIME_LIMIT_S = 120.0
_LIFECYCLE = "Page.lifecycleEvent"
_KEY_CODES = {"Enter": 13, "ArrowRight": 39}
#: The answers on an expression whose page has been left.
_LEFT = (
    "Inspected target navigated or closed",
    "Execution context was destroyed.",
    "Promise was collected",
)
#: Settles when CONDITION holds: at once, or after a change of the page.
_UNTIL = """
new Promise(settle => {
    const look = () => { const found = (CONDITION); if (found) settle(found); };
    new MutationObserver(look).observe(
        document, {subtree: true, childList: true, attributes: true, characterData: true});
    look();
})
"""


class _Pipes:
    """The browser's ends of two pipes: messages of JSON, each with a zero byte after it."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        self._received = b""

    def send(self, message: Mapping[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._writing, data) :]

    def receive(self, deadline: float) -> dict[str, Any]:
        """The next message.

        Raises:
            TimeoutError: there is none before `deadline`, a moment of the monotonic clock.
        """
        while b"\0" not in self._received:
            ready, _, _ = select.select(
                [self._reading], [], [], max(0, deadline - time.monotonic())
            )
            if not ready:
                raise TimeoutError("the browser says nothing")
            data = os.read(self._reading, 1 << 20)
            if not data:
                raise EOFError("the browser is gone")
            self._received += data
        text, _, self._received = self._received.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message


class Page:
    """One tab. `events` are what has happened in it, by the protocol's names, oldest first."""

    def __init__(self, pipes: _Pipes) -> None:
        self._pipes = pipes
        self._number = 0
        self._session: str | None = None
        self.events: list[tuple[str, dict[str, Any]]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self.ask(f"{domain}.enable")
        self.ask("Page.setLifecycleEventsEnabled", enabled=True)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """One request of the protocol, and its answer."""
        answer = self._answer(method, **params)
        assert "error" not in answer, (method, answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def _answer(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer, which may be an error."""
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        self._pipes.send({"id": self._number, "method": method, "params": params, **session})
        deadline = time.monotonic() + TIME_LIMIT_S
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self._number:
                return answer

    def _next(self, deadline: float) -> dict[str, Any]:
        """What comes next, an answer or an event; events are noted."""
        message = self._pipes.receive(deadline)
        if "method" in message and message.get("sessionId") == self._session:
            self.events.append((message["method"], message["params"]))
        return message

    def open(self, url: str) -> None:
        """Go to `url`, which must not be met with an error page, and wait until it is there."""
        went = self.ask("Page.navigate", url=url)
        assert "errorText" not in went, (url, went["errorText"])
        loaded = {"name": "load", "loaderId": went["loaderId"]}
        deadline = time.monotonic() + TIME_LIMIT_S
        while not any(loaded.items() <= each.items() for each in self.happened(_LIFECYCLE)):
            self._next(deadline)

    def evaluate(self, expression: str) -> Any:
        """The value of a piece of JavaScript in the page, once it is there."""
        answer = self.ask(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str) -> Any:
        """The first value of `condition` that is true, now or when the page has changed.

        The page may lead to a new one meanwhile.
        """
        expression = _UNTIL.replace("CONDITION", condition)
        while True:
            answer = self._answer(
                "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
            )
            if answer.get("error", {}).get("message") not in _LEFT:
                break
        assert "error" not in answer, answer["error"]
        assert "exceptionDetails" not in answer["result"], answer["result"]
        return answer["result"]["result"].get("value")

    def press(self, key: str, selector: str, *, shift: bool = False) -> None:
        """Press a key, by its name in the protocol, in the first element of a CSS selector."""
        self.evaluate(f"document.querySelector({selector!r}).focus()")
        about: dict[str, Any] = {
            "key": key,
            "code": key,
            "windowsVirtualKeyCode": _KEY_CODES[key],
            "modifiers": 8 if shift else 0,
        }
        text = {"text": "\r"} if key == "Enter" else {}  # without it, no form is sent
        self.ask("Input.dispatchKeyEvent", type="keyDown", **about, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **about)

    def type(self, text: str, selector: str) -> None:
        """Type into the first element of a CSS selector."""
        self.evaluate(f"document.querySelector({selector!r}).focus()")
        self.ask("Input.insertText", text=text)

    def choose_file(self, path: Path, selector: str = "input[type=file]") -> None:
        """Choose a file, as in the browser's dialog."""
        found = self.ask("Runtime.evaluate", expression=f"document.querySelector({selector!r})")
        self.ask("DOM.setFileInputFiles", files=[str(path)], objectId=found["result"]["objectId"])

    def happened(self, name: str) -> list[dict[str, Any]]:
        """What is known of each event of that name."""
        return [params for each, params in self.events if each == name]


@contextmanager
def chromium(
    folder: Path,
    *,
    network_of: LabHost | None = None,
    trust: Path | None = None,
    addresses: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Page]:
    """A tab of a browser that trusts the root `trust` too and knows where names lead to.

    `folder` is for what the browser writes; without `network_of` it is in our own network.
    """
    program = shutil.which("chromium")
    assert program, "chromium is missing: see tests/machine.sh"
    if trust is not None:
        _trust(folder, trust)
    rules = [f"MAP {name} {address}" for name, address in addresses.items()]
    elsewhere = ["nsenter", f"--net={network_of.network_namespace}"] if network_of else []
    from_us, to_us = os.pipe(), os.pipe()
    # It reads from 3 and writes to 4. A plain sh knows no numbers of two digits.
    command = [
        *(*elsewhere, "bash", "-c"),
        f'exec "$@" 3<&{from_us[0]} 4>&{to_us[1]}',
        *("bash", program),
        "--headless=new",
        "--no-sandbox",  # which root cannot have; the pages are our own
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--password-store=basic",
        f"--user-data-dir={folder / 'profile'}",
        f"--host-resolver-rules={', '.join([*rules, 'MAP * ~NOTFOUND'])}",
        "--remote-debugging-pipe",
        "about:blank",
    ]
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "HOME": str(folder)},
            pass_fds=(from_us[0], to_us[1]),
            start_new_session=True,
        )
    os.close(from_us[0])
    os.close(to_us[1])
    try:
        yield Page(_Pipes(to_us[0], from_us[1]))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=TIME_LIMIT_S)
        os.close(from_us[1])
        os.close(to_us[0])


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
