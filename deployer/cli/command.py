"""Click commands whose help has named groups of options, examples, and the terminal's whole width.

Groups of options and lazy subcommands are a few lines here rather than a dependency: rich-click
and cloup take longer to import than all of ``deployer --help`` (docs/decisions/0020).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.types import OptionHelpExtra

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

#: Help is as wide as the terminal; click stops at 80 columns otherwise.
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 1000}
#: Longer names of options have their text on the next line.
_WIDEST_NAME = 26


class Integer(click.IntRange):
    """A whole number within limits; errors are worded for users."""

    name = "whole number"

    def _describe_range(self) -> str:
        return _limits(self.min, self.max)


class Number(click.FloatRange):
    """A number within limits; errors are worded for users."""

    name = "number"

    def _describe_range(self) -> str:
        return _limits(self.min, self.max)


def _limits(least: float | None, most: float | None) -> str:
    return f"from {least:g}" if most is None else f"{least:g} to {most:g}"


class Option(click.Option):
    """An option of the group `group_title` in its command's help."""

    def __init__(self, *args: Any, group_title: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.group_title = group_title

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        """Without ranges, which an error names, and with ``10`` for ``10.0``."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        if "default" in extra:
            extra["default"] = extra["default"].removesuffix(".0")
        return extra


def option(*names: str, group: str, **attributes: Any) -> Decorator:
    """Like `click.option`, in a named group."""
    return click.option(*names, cls=Option, group_title=group, **attributes)


def combine(*options: Decorator) -> Decorator:
    """Several options as one decorator."""

    def add(command: Callable[..., Any]) -> Callable[..., object]:
        for each in reversed(options):
            command = each(command)
        return command

    return add


class Command(click.Command):
    """A command; `examples` are pairs of a purpose and a command line."""

    def __init__(
        self, *args: Any, examples: Sequence[tuple[str, str]] = (), **attributes: Any
    ) -> None:
        attributes["context_settings"] = _SETTINGS | (attributes.get("context_settings") or {})
        super().__init__(*args, **attributes)
        self.examples = examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One section for each group of options, in the order of their first options."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                title = getattr(parameter, "group_title", "Help")
                groups.setdefault(title, []).append(record)
        names = [name for records in groups.values() for name, _ in records]
        column = max(len(name) for name in names if len(name) <= _WIDEST_NAME)
        for title, records in groups.items():
            rows = [(f"{name:<{column}}", text) for name, text in records]
            with formatter.section(title):
                formatter.write_dl(rows, col_max=column)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples: what each is for, and the command line, which is never wrapped."""
        if self.examples:
            with formatter.section("Examples"):
                for purpose, line in self.examples:
                    formatter.write_text(f"{purpose}:")
                    formatter.write(f"{'':{formatter.current_indent + 2}}{line}\n")
        super().format_epilog(ctx, formatter)


class Group(click.Group, Command):
    """A group of commands."""

    command_class = Command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """First the commands: they are why someone reads this help."""
        self.format_commands(ctx, formatter)
        Command.format_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each command with the whole first sentence of its help."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, each.get_short_help_str(1000)) for name, each in self.commands.items()]
            )


class LazyGroup(Group):
    """A group that imports a command when it is asked for, from the module of the same name.

    `sections` are the headings of the help, each with its commands and their short help.
    """

    def __init__(
        self, *args: Any, package: str, sections: Mapping[str, Mapping[str, str]], **attributes: Any
    ) -> None:
        super().__init__(*args, **attributes)
        self.sections = sections
        self._package = package

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, in the order of the help."""
        return [name for section in self.sections.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; `None` if there is none of this name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{self._package}.{cmd_name}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101 - a test loads every command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that `args` begin with. Raises: NoSuchCommand, with the nearest names."""
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            names = self.list_commands(ctx)
            raise click.exceptions.NoSuchCommand(
                error.command_name, possibilities=names, ctx=ctx
            ) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The sections, without importing a command."""
        longest = max(map(len, self.list_commands(ctx)))
        for title, commands in self.sections.items():
            with formatter.section(title):
                rows = [(f"{name:<{longest}}", text) for name, text in commands.items()]
                formatter.write_dl(rows)
