"""The names of releases as values of ``--release``."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem


class ReleaseName(click.ParamType[str]):
    """A release that deployer knows, by any of its names; the value is its name in `RELEASES`."""

    name = "release"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Raises: click.BadParameter, if there is no such release."""
        from deployer.sites.releases import RELEASES, named

        found = named(str(value))
        if found is None:
            self.fail(f"{value!r} is not one of: {', '.join(RELEASES)}.", param, ctx)
        return found.name

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The names that begin with `incomplete`."""
        from deployer.sites.releases import RELEASES

        return [CompletionItem(name) for name in RELEASES if name.startswith(incomplete)]
