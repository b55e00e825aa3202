"""Times as short text for tables. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
#: Nearer times are shown as a duration, others as a date.
_NEAR = timedelta(hours=48)


def moment(text: str | None) -> datetime | None:
    """Parse a time in RFC 3339 format; `None` if it is missing or invalid."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def rfc3339(seconds: float) -> str:
    """Seconds since the epoch in RFC 3339 format, in UTC."""
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
    """``in 7 h`` if the time is near, ``2027-01-19`` otherwise."""
    return relative(at, now) if abs(at - now) < _NEAR else f"{at.astimezone(UTC):%Y-%m-%d}"


def minute(at: datetime) -> str:
    """``2027-01-19 08:40Z``."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}Z"
