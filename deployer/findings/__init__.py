"""The failure catalogue: for each finding its meaning, how to distinguish it, and its fix.

    catalogue/*.yml   the data, one file per group; rows.yml: the ways to fail that it covers
    entries.py        data → `Entry`, validated
    page.py           `Entry` → its page (docs/findings/), and the index of all pages

A run without findings needs nothing from here: import it only when a code is to be explained.
"""

from __future__ import annotations


def codes() -> tuple[str, ...]:
    """Every code, in the order of the catalogue."""
    from deployer.findings.entries import catalogue

    return tuple(catalogue().entries)


def explanation(code: str, *, width: int | None = None) -> str:
    """The page of `code` for ``--explain``: as in docs/, or wrapped to `width` columns.

    Raises:
        UsageError: `code` is unknown.
    """
    from deployer.errors import UsageError
    from deployer.findings.entries import catalogue
    from deployer.findings.page import page

    entries = catalogue().entries
    if code not in entries:
        from difflib import get_close_matches

        near = get_close_matches(code, entries, n=1)
        raise UsageError(
            f"Unknown finding code: {code!r}.",
            hint=f"Did you mean {near[0]}?" if near else f"Codes: {', '.join(entries)}.",
        )
    if width is None:
        return page(entries[code], links=False)
    return page(entries[code], links=False, width=width)
