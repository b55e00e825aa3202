"""The agent's answers as messages."""

from __future__ import annotations

from collections.abc import Sequence

from deployer.errors import AgentError
from deployer.model import Document


def error_words(error: AgentError, *, has_secret_output: bool = False) -> str:
    """The agent's error, with the last lines of a program's output unless it is secret."""
    output = str(error.details.get("output", "")).strip()
    if output and has_secret_output:
        output = "(its output is secret)"
    return f"{error.problem}\n{_indented(output)}" if output else error.problem


def not_restored(reply: Document) -> str:
    """What a rollback could not restore, one item per line."""
    lines = [f"{item['path']}: {item['why']}" for item in reply.get("kept", ())]
    lines += [f"{item['resource_id']}: {item['message']}" for item in reply.get("failed", ())]
    return _indented("\n".join(lines)).strip() or "no reason was given"


def _indented(text: str, lines: int = 30) -> str:
    kept: Sequence[str] = text.splitlines()[-lines:]
    return "\n".join(f"    {line}" for line in kept)
