"""What the runner's answers mean, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deployer.errors import RunnerError


def error_words(error: RunnerError, *, has_secret_output: bool = False) -> str:
    """What the runner says, and the last lines of what a program said to it, if not secret."""
    output = str(error.details.get("output", "")).strip()
    if output and has_secret_output:
        output = "(its output is secret)"
    return f"{error.problem}\n{_indented(output)}" if output else error.problem


def left_over(reply: Mapping[str, Any]) -> str:
    """What a revert could not put back, one a line."""
    lines = [f"{item['path']}: {item['why']}" for item in reply.get("kept", ())]
    lines += [f"{item['resource_id']}: {item['message']}" for item in reply.get("failed", ())]
    return _indented("\n".join(lines)).strip() or "no reason was given"


def _indented(text: str, lines: int = 30) -> str:
    kept: Sequence[str] = text.splitlines()[-lines:]
    return "\n".join(f"    {line}" for line in kept)
