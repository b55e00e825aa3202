"""Times in the few words that a table has room for. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
#: What is nearer than this is told as a span, what is farther as a date.
_NEAR = timedelta(hours=48)


def moment(text: str | None) -> datetime | None:
    """A time as RFC 3339 writes it; `None` where there is none, or none that can be read."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def rfc3339(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 writes them, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def span(delta: timedelta) -> str:
    """``40 s``, ``57 min``, ``31 h``, ``5.4 days``, ``89 days``: rounded down, without its sign."""
    seconds = abs(delta.total_seconds())
    if seconds < 2 * _MINUTE:
        return f"{int(seconds)} s"
    if seconds < 2 * _HOUR:
        return f"{int(seconds / _MINUTE)} min"
    if seconds < 2 * _DAY:
        return f"{int(seconds / _HOUR)} h"
    if seconds < 10 * _DAY:
        return f"{int(seconds / _DAY * 10) / 10:g} days"
    return f"{int(seconds / _DAY)} days"


def relative(at: datetime, now: datetime) -> str:
    """``in 7 h`` or ``3.5 days ago``."""
    return f"in {span(at - now)}" if at > now else f"{span(at - now)} ago"


def when(at: datetime, now: datetime) -> str:
    """``in 7 h`` where that is near, ``2027-01-19`` where it is not."""
    return relative(at, now) if abs(at - now) < _NEAR else f"{at.astimezone(UTC):%Y-%m-%d}"


def minute(at: datetime) -> str:
    """``2027-01-19 08:40Z``."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}Z"
