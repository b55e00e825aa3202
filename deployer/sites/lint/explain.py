"""The explanation of lint codes, from docs/lint.md, which is part of the package."""

from __future__ import annotations

import re
from pathlib import Path

from deployer.errors import UsageError
from deployer.sites.lint.note import RENAMED_CODES

_PAGE = Path(__file__).parents[2] / "lint.md"
_SECTION = re.compile(r"^### ([a-z-]+)\n+(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)


def sections() -> dict[str, str]:
    """The section text of each code."""
    return {
        code: text.strip() for code, text in _SECTION.findall(_PAGE.read_text(encoding="utf-8"))
    }


def explanation(code: str) -> str:
    """The section of `code`, which may be a former name of it.

    Raises:
        UsageError: `code` is unknown.
    """
    known = sections()
    code = RENAMED_CODES.get(code, code)
    if code not in known:
        from difflib import get_close_matches

        near = get_close_matches(code, known, n=1)
        raise UsageError(
            f"Unknown lint code: {code!r}.",
            hint=f"Did you mean {near[0]}?" if near else f"Codes: {', '.join(known)}.",
        )
    return f"{code}\n\n{known[code]}"
