"""The journal of a commit: what it has done, for the revert."""

from __future__ import annotations

import json
import os

from deployer.agent import settings
from deployer.agent.encoding import canonical_json, sha256
from deployer.agent.errors import StepError, os_words
from deployer.agent.files import overwrite, read_json, write_all
from deployer.agent.processes import boot_id
from deployer.agent.settings import CHUNK_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from deployer.agent.settings import Json

#: The events of a journal, in order. `intent` and `handler` are on the disk before the action,
#: `done` and `handled` after it.
JOURNAL_EVENTS = (
    "begin",
    "intent",
    "kept-for-good",
    "done",
    "handler",
    "handled",
    "applied",
    "failed",
    "revert",
    "services-stopped",
    "packages-back",
    "files-back",
    "services-back",
    "looked-again",
)


class Journal:
    """One JSON object per line, each on the disk before `write` returns.

    Every line ends with a hash of itself and all lines before it. The number of lines is recorded
    in /run too, before and after each write: this distinguishes a truncated file from one whose
    writer died.
    """

    def __init__(self, folder: str, commit: str) -> None:
        self._path = os.path.join(folder, "journal.jsonl")
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o600)
        *written, torn = self._read_all().split(b"\n")
        self._count = len(written)
        self._sum = _sum_of(written[-1]) if written else ""
        self._size = sum(len(line) + 1 for line in written)
        if torn:
            os.ftruncate(self._fd, self._size)
        self._about = {"commit": commit, "boot": boot_id()}

    def _read_all(self) -> bytes:
        data = b""
        while True:
            more = os.pread(self._fd, CHUNK_BYTES, len(data))
            if not more:
                return data
            data += more

    def write(self, event: str, **details: Any) -> None:
        """Add a line, or leave the journal as it was.

        Raises:
            OSError: it cannot be written.
        """
        if event not in JOURNAL_EVENTS:
            raise ValueError(f"{event} is no event of a journal")
        body = canonical_json({"event": event, **details})[:-1]
        total = sha256(self._sum.encode() + body).hexdigest()[:32]
        line = body + b',"sum":"' + total.encode() + b'"}\n'
        self._mark(self._count + 1, is_whole=False)
        try:
            write_all(self._fd, line)
            os.fsync(self._fd)
        except OSError:
            os.ftruncate(self._fd, self._size)
            self._mark(self._count, is_whole=True)
            raise
        self._count, self._sum, self._size = self._count + 1, total, self._size + len(line)
        self._mark(self._count, is_whole=True)

    def try_to_write(self, event: str, **details: Any) -> None:
        """Like `write`, for lines that nothing depends on."""
        try:
            self.write(event, **details)
        except OSError:
            pass

    def _mark(self, count: int, *, is_whole: bool) -> None:
        mark = {**self._about, "lines": count, "whole": is_whole}
        overwrite(settings.JOURNAL_MARK, json.dumps(mark).encode())

    def close(self) -> None:
        os.close(self._fd)


def _sum_of(line: bytes) -> str:
    return line.rpartition(b',"sum":"')[2][:-2].decode("ascii", "replace")


def read_journal(folder: str) -> list[Json]:
    """The events of a journal; a last line that a crash of the host has truncated does not count.

    Raises:
        StepError: it was modified or truncated.
    """
    try:
        with open(os.path.join(folder, "journal.jsonl"), "rb") as file:
            *lines, rest = file.read().split(b"\n")
    except OSError as error:
        raise StepError(f"the journal cannot be read: {os_words(error)}") from None
    events: list[Json] = []
    total = ""
    for number, line in enumerate(lines, 1):
        body = line.rpartition(b',"sum":"')[0]
        total = sha256(total.encode() + body).hexdigest()[:32]
        if total != _sum_of(line):
            raise StepError(f"line {number} of the journal was modified")
        events.append(json.loads(line))
    if not events or events[0]["event"] != "begin":
        raise StepError("the journal has no beginning")
    mark = read_json(settings.JOURNAL_MARK) or {}
    if (mark.get("commit"), mark.get("boot")) == (events[0]["commit"], boot_id()):
        is_whole = len(lines) == mark["lines"] and not (mark["whole"] and rest)
        if not is_whole and (mark["whole"] or len(lines) != mark["lines"] - 1):
            raise StepError(
                f"the journal is truncated: it had {mark['lines']} lines and has {len(lines)}"
            )
    return events
