"""The failure catalogue: what each finding's code means, how to tell it from others, what mends it.

    catalogue/*.yml   the data, a group a file; rows.yml: the ways to fail that it covers
    entries.py        data → `Entry`, checked
    page.py           `Entry` → its page (docs/findings/), and the index of all

Nothing here is needed for a run that finds nothing: import it when a code is to be explained.
"""

from __future__ import annotations


def codes() -> tuple[str, ...]:
    """Every code, in the order of the catalogue."""
    from deployer.findings.entries import catalogue

    return tuple(catalogue().entries)


def explanation(code: str, *, width: int | None = None) -> str:
    """The page on `code`, for ``--explain``: as it lies in docs/, or for a terminal of `width`.

    Raises:
        UsageError: there is no such code.
    """
    from deployer.errors import UsageError
    from deployer.findings.entries import catalogue
    from deployer.findings.page import page

    entries = catalogue().entries
    if code not in entries:
        from difflib import get_close_matches

        near = get_close_matches(code, entries, n=1)
        raise UsageError(
            f"No finding has the code {code!r}.",
            hint=f"Did you mean {near[0]}?" if near else f"There are: {', '.join(entries)}.",
        )
    if width is None:
        return page(entries[code], links=False)
    return page(entries[code], links=False, width=width)
