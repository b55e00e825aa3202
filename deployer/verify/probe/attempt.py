"""What came of one connection: plain values, on which the judging (`judge.py`) works."""

from __future__ import annotations

from dataclasses import dataclass, field

from deployer.model import HandshakeResult

#: Failures in which nobody answered at all; the address is then what matters, not the URI.
UNCONNECTED = frozenset({"refused", "unreachable", "no-way"})

_SHOWN_CHARACTERS = 200


class Failure(Exception):  # noqa: N818 - it is the outcome of a check more than an error
    """Why a connection did not do what it should.

    `code` is a short word; `words` continue a sentence that begins with the address ("answered 502
    Bad Gateway"); `seconds` is how long it took, where that tells something; `close_code` that of
    a Close frame; `evidence` quotes the peer.
    """

    def __init__(
        self,
        code: str,
        words: str,
        *,
        seconds: float | None = None,
        close_code: int | None = None,
        evidence: str = "",
    ) -> None:
        super().__init__(code, words)
        self.code = code
        self.words = words
        self.seconds = seconds
        self.close_code = close_code
        self.evidence = evidence

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One probe, carried out. `failure` is `None` where all went well; `note` is worth showing.

    `request` and `response` are what went over the line, a line for each header, without secrets.
    `seconds` is without what was waited for a first message in vain.
    """

    answer: HandshakeResult
    failure: Failure | None = None
    note: str = ""
    seconds: float = 0.0
    facts: dict[str, str] = field(default_factory=dict)
    request: str = ""
    response: str = ""

    @property
    def status_code(self) -> int | None:
        """The HTTP status of the answer, where there was one."""
        return self.answer.status_code


def printable(text: str | bytes, *, limit: int = _SHOWN_CHARACTERS) -> str:
    """A peer's words on one line, cut at `limit` characters, without what a terminal would obey."""
    if isinstance(text, bytes):
        text = text[: limit * 4].decode("utf-8", "replace")
    line = " ".join(text.split())
    safe = "".join(letter if letter.isprintable() else "�" for letter in line)
    return safe if len(safe) <= limit else safe[:limit] + "…"
