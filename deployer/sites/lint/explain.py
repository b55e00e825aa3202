"""What the documentation says about a code of the lint: docs/lint.md, which ships with us."""

from __future__ import annotations

import re
from pathlib import Path

from deployer.errors import UsageError

_PAGE = Path(__file__).parents[2] / "lint.md"
_SECTION = re.compile(r"^### ([a-z-]+)\n+(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)


def sections() -> dict[str, str]:
    """The text of each code's section."""
    return {
        code: text.strip() for code, text in _SECTION.findall(_PAGE.read_text(encoding="utf-8"))
    }


def explanation(code: str) -> str:
    """The section of `code`.

    Raises:
        UsageError: there is no such code.
    """
    known = sections()
    if code not in known:
        from difflib import get_close_matches

        near = get_close_matches(code, known, n=1)
        raise UsageError(
            f"The lint has no code {code!r}.",
            hint=f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}.",
        )
    return f"{code}\n\n{known[code]}"
