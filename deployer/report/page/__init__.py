"""A run as one HTML page, with the same content as ``--json``.

    view.py          the document → the texts, positions and widths of the page (pure)
    report.html.j2   the layout
    report.css       the style, for light and dark themes and for phones

The page needs no network and no script.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

_FOLDER = Path(__file__).parent


def page_of(document: Mapping[str, object], *, at: datetime) -> str:
    """The HTML page of a run's JSON document; `at` is when it ended."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from deployer.report.page.view import page_view

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (_FOLDER / "report.css").read_text(encoding="utf-8")
    template = environment.get_template("report.html.j2")
    return template.render(page=page_view(document, at=at), style=style)
