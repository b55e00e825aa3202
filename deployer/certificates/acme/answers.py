"""Where certbot's hooks deliver their challenges: a socket in a private folder."""

from __future__ import annotations

import contextlib
import hmac
import json
import secrets
import select
import shlex
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from deployer.certificates.acme import hook
from deployer.errors import DeployerError

#: Makes every host of the names answer `token` with a key authorization, and returns when they
#: do; with `None` they stop (RFC 8555, section 8.3).
Answer = Callable[[str, str | None], None]

_MESSAGE_LIMIT_BYTES = 1 << 16
_HANDING_OVER_S = 10.0
#: How long an answer that is being given may go on after its order has ended.
_ENDING_S = 20.0


class Answers:
    """Receives challenges as a context manager, one after another, and has them answered.

    Args:
        folder: private, and short enough for a socket's path.
        limit_s: how long a hook waits for an answer to be in place.
    """

    def __init__(
        self, folder: Path, *, answer: Answer, log: Callable[[str], None], limit_s: float
    ) -> None:
        self._path = folder / "s"
        self._answer = answer
        self._log = log
        self._limit_s = limit_s
        self._word = secrets.token_urlsafe(32)
        self._given: set[str] = set()
        #: Whatever `answer` raised, for the caller that ordered.
        self.error: Exception | None = None

    def __enter__(self) -> Answers:
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            self._listener.bind(str(self._path))
            self._path.chmod(0o600)
            self._listener.listen(4)
            self._wake, self._woken = socket.socketpair()
        except BaseException:
            self._listener.close()
            raise
        self._thread = threading.Thread(target=self._serve, name="challenges", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._wake.close()
        self._thread.join(_ENDING_S)  # a daemon: a thread that never ends blocks nothing
        self._woken.close()
        self._listener.close()
        for token in sorted(self._given):  # not withdrawn by a certbot that was killed
            with contextlib.suppress(Exception):
                self._answer(token, None)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of the hooks."""
        return {
            hook.SOCKET: str(self._path),
            hook.WORD: self._word,
            hook.LIMIT: f"{self._limit_s:g}",
        }

    @staticmethod
    def hook_command(word: str) -> str:
        """The command that certbot passes to a shell; `word` is ``answer`` or ``forget``."""
        return shlex.join([sys.executable, "-I", str(Path(hook.__file__).resolve()), word])

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._listener, self._woken], [], [])
            if self._woken in ready:
                return
            connection, _ = self._listener.accept()
            with connection, contextlib.suppress(OSError, ValueError):
                connection.settimeout(_HANDING_OVER_S)
                with connection.makefile("rb") as lines:
                    message = json.loads(lines.readline(_MESSAGE_LIMIT_BYTES))
                error = self._take(message)
                connection.sendall(json.dumps({"error": error}).encode() + b"\n")

    def _take(self, message: dict[str, object]) -> str:
        if not hmac.compare_digest(str(message.get("word")), self._word):
            return "the challenge belongs to a different order"
        token, answered = str(message["token"]), message["key_authorization"]
        if answered is None:
            return self._forget(token)
        if self.error is not None:
            return "an earlier challenge could not be answered"
        self._log(f"answering the challenge for {message['name']}")
        self._given.add(token)
        try:
            self._answer(token, str(answered))
        except Exception as error:
            self.error = error
            return str(error) if isinstance(error, DeployerError) else type(error).__name__
        return ""

    def _forget(self, token: str) -> str:
        self._given.discard(token)
        try:
            self._answer(token, None)
        except Exception as error:  # a host that still answers does no harm
            return type(error).__name__
        return ""
