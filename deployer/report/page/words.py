"""Times and durations as text. Pure."""

from __future__ import annotations


def milliseconds(time_s: float) -> str:
    """A short duration: ``12 ms``, ``1.2 s``; empty for zero."""
    if time_s < 0.0005:
        return ""
    return f"{time_s * 1000:.0f} ms" if time_s < 1 else f"{time_s:.1f} s"


def seconds(time_s: float) -> str:
    """The duration of a run: ``12.3 s``; empty for zero."""
    return f"{time_s:.1f} s" if time_s else ""


def span(time_s: float) -> str:
    """A long duration: ``60 s``, ``5 min``, ``1 h``."""
    for unit_s, unit in ((3600, "h"), (60, "min")):
        if time_s >= 2 * unit_s or time_s == unit_s:
            return f"{time_s / unit_s:.3g} {unit}"
    return f"{time_s:.3g} s"
