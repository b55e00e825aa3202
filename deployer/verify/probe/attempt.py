"""The outcome of one connection: plain values, which `judge/` turns into results."""

from __future__ import annotations

from dataclasses import dataclass, field

from deployer.model import HandshakeResult

#: Failures without any connection; the address then matters more than the URI.
UNCONNECTED = frozenset({"refused", "unreachable", "no-way"})

_SHOWN_CHARACTERS = 200

#: The fact about a service why its certificate is not trusted, although the proxy must trust it.
DISTRUST = "distrust"


class Failure(Exception):  # noqa: N818 - the outcome of a check rather than an error
    """The reason why a connection did not work as it should.

    `code` is a short word. `words` continue a sentence that starts with the address ("answered 502
    Bad Gateway"). `seconds` is how long it took, if that matters; `close_code` is the code of a
    Close frame; `evidence` quotes the peer.
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
    """One probe and its outcome: `failure` is `None` if all went well; `note` is for display.

    `request` and `response` are as sent, one line for each header, without secrets. `seconds` does
    not count the wait for a first message that never came. Nothing was sent to a service that is
    `left_alone`, which is the reason.
    """

    answer: HandshakeResult
    failure: Failure | None = None
    note: str = ""
    seconds: float = 0.0
    facts: dict[str, str] = field(default_factory=dict)
    request: str = ""
    response: str = ""
    left_alone: str = ""

    @property
    def status_code(self) -> int | None:
        """The HTTP status of the response, if there was one."""
        return self.answer.status_code


def printable(text: str | bytes, *, limit: int = _SHOWN_CHARACTERS) -> str:
    """Return a peer's text on one line, cut at `limit` characters, without control characters."""
    if isinstance(text, bytes):
        text = text[: limit * 4].decode("utf-8", "replace")
    line = " ".join(text.split())
    safe = "".join(letter if letter.isprintable() else "�" for letter in line)
    return safe if len(safe) <= limit else safe[:limit] + "…"
