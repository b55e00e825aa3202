"""The last answer of a CA in certbot's log: certbot itself shows little of it, or nothing.

Debian 12's certbot 2.1 prints ``AttributeError: can't set attribute`` for every refusal of a CA,
and 1.12 ``Unable to register an account``; no version shows the time in Retry-After.
"""

from __future__ import annotations

import calendar
import email.utils
import json
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Json = dict[str, Any]

_LINE_START = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+:[A-Z]+:"
_ANSWER = re.compile(
    _LINE_START + r"acme\.client:Received response:\nHTTP (?P<status>\d{3})\n"
    r"(?P<headers>(?:[^\n]+\n)*)\n?(?P<body>.*?)(?=" + _LINE_START + r"|\Z)",
    re.MULTILINE | re.DOTALL,
)
_REQUEST = re.compile(r"acme\.client:Sending (?:GET|HEAD|POST) request to (\S+?)[.:]?$", re.M)
_RETRY_AT = re.compile(r"retry after (\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)", re.I)


class Answer:
    """An answer of a CA: the HTTP `status` of a request to `url`, and its problem document.

    `code` is the last word of the problem's type (RFC 8555, section 6.7), empty without one;
    `parts` are the affected names, each with its problem.
    """

    def __init__(self, status: int, url: str, retry_after: str, problem: Json) -> None:
        self.status = status
        self.url = url
        self.retry_after = retry_after
        self.code = _text(problem, "type").rpartition(":")[2]
        self.detail = _text(problem, "detail")
        self.parts = list(_parts(problem))


def last_answer(log: str) -> Answer | None:
    """The last answer in `log`; `None` if there is none."""
    answers = list(_ANSWER.finditer(log))
    if not answers:
        return None
    found = answers[-1]
    requests = _REQUEST.findall(log, 0, found.start())
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in found["headers"].splitlines())
    }
    return Answer(
        int(found["status"]),
        requests[-1] if requests else "",
        headers.get("retry-after", ""),
        _problem(found["body"]),
    )


def retry_at(detail: str, retry_after: str, *, now: float) -> float | None:
    """When a CA allows a retry, by its text or its header, in seconds since the epoch."""
    found = _RETRY_AT.search(detail)
    if found:
        return float(calendar.timegm((*map(int, found.groups()), 0, 0, 0)))
    if retry_after.isdigit():
        return now + float(retry_after[:9])
    try:
        return email.utils.parsedate_to_datetime(retry_after).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def without_time(detail: str) -> str:
    """A CA's text without the time, which `retry_at` parses."""
    return re.sub(r",? ?" + _RETRY_AT.pattern + r"(?: UTC)?", "", detail, flags=re.I)


def _problem(body: str) -> Json:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _parts(problem: Json) -> Iterator[tuple[str, str]]:
    parts = problem.get("subproblems")
    for part in parts if isinstance(parts, list) else ():
        identifier = part.get("identifier") if isinstance(part, dict) else None
        if isinstance(identifier, dict):
            yield _text(identifier, "value"), _text(part, "detail")


def _text(found: Json, key: str) -> str:
    value = found.get(key)
    return value if isinstance(value, str) else ""
