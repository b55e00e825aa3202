"""The help of every command: sections, width, examples, and options that have an effect."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import click
import pytest

from deployer.cli.command import Command, Option
from deployer.cli.main import EXIT_CODES, cli, run
from deployer.errors import SEVERITY


def walk(group: click.Group = cli, name: str = "deployer") -> Iterator[tuple[str, click.Command]]:
    """All commands by their full names."""
    context = click.Context(group, info_name=name)
    for each in group.list_commands(context):
        command = group.get_command(context, each)
        assert command is not None
        yield f"{name} {each}", command
        if isinstance(command, click.Group):
            yield from walk(command, f"{name} {each}")


COMMANDS = dict(walk())
LEAVES = {name: each for name, each in COMMANDS.items() if not isinstance(each, click.Group)}


def help_of(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert run([*name.split()[1:], "--help"]) == 0
    return capsys.readouterr().out


def options_of(command: click.Command) -> set[str]:
    return {name for each in command.params if isinstance(each, Option) for name in each.opts}


def test_the_program_lists_its_commands_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    shown = help_of("deployer", capsys)
    for section in cli.sections.values():
        for name in section:
            assert f"\n  {name} " in shown
    assert set(EXIT_CODES) == {*SEVERITY, 130}
    for code, meaning in EXIT_CODES.items():
        assert f"\n  {code:>3}  {meaning}" in shown


def test_the_list_of_commands_has_the_first_sentences_of_their_help() -> None:
    listed = {name: text for section in cli.sections.values() for name, text in section.items()}
    for name, text in listed.items():
        assert COMMANDS[f"deployer {name}"].get_short_help_str(1000) == text


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", ["deployer", *COMMANDS])
def test_help_is_as_wide_as_the_terminal(
    name: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = help_of(name, capsys)
    before, _, examples = shown.partition("\nExamples:\n")
    lengths = [len(line) for line in before.splitlines()]
    assert max(lengths) <= width
    if name in ("deployer apply", "deployer verify"):
        assert max(lengths) > width - 12
    assert max((len(line) for line in examples.splitlines()), default=0) <= 100


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_two_examples_that_it_accepts(name: str) -> None:
    command = COMMANDS[name]
    assert isinstance(command, Command)
    assert len(command.examples) >= (1 if name == "deployer version" else 2)
    for purpose, line in command.examples:
        assert purpose[0].isupper()
        words = shlex.split(line.partition(" > ")[0].removeprefix("source <(").rstrip(")"))
        if words[: len(name.split())] == name.split():
            command.make_context(name, words[len(name.split()) :])
        else:
            assert name == "deployer help"


@pytest.mark.parametrize("name", LEAVES)
def test_every_option_has_a_group_and_a_text(name: str) -> None:
    for each in LEAVES[name].params:
        if isinstance(each, click.Option):
            assert isinstance(each, Option), each.name
            assert each.help
            assert each.help.endswith((".", "]")), each.help


_OVER_SSH = "plan apply rollback reload drain recover verify history status renew schedule"
#: Options that not every command with hosts has, and the commands that can use them.
USED_BY = {
    "--tags": "check plan apply",
    "--skip-tags": "check plan apply",
    "--list-hosts": "check plan apply",
    "--list-tags": "check plan apply",
    "--syntax-check": "check plan apply",
    "--install-python": "plan apply",
    "--prune": "plan apply",
    "--prune-packages": "plan apply",
    "--prune-certificates": "plan apply",
    "--check": "apply rollback reload drain",
    "--diff": "plan apply rollback drain",
    "--yes": "apply rollback reload drain recover",
    "--canaries": "apply rollback reload drain",
    "--keep": "apply rollback reload drain",
    "--no-watchdog": "apply rollback reload drain",
    "--confirm-timeout": "apply rollback drain",
    "--lock-timeout": "apply rollback reload drain recover renew",
    "--no-staging-first": "plan apply renew",
    "--html": "plan apply rollback reload drain verify diagnose status renew",
    "--verbose": "plan apply rollback reload drain verify diagnose history status renew schedule",
    "--explain": "check verify diagnose",
    "--user": f"{_OVER_SSH} diagnose",
    "--ask-pass": f"{_OVER_SSH} diagnose",
    "--become": f"{_OVER_SSH} diagnose",
    "--forks": _OVER_SSH,
}


@pytest.mark.parametrize("option", USED_BY)
def test_options_are_offered_by_the_commands_that_use_them(option: str) -> None:
    having = {
        name.split()[-1]
        for name, command in LEAVES.items()
        if option in options_of(command) and not name.startswith("deployer lab")
    }
    assert having == set(USED_BY[option].split())


@pytest.mark.parametrize(
    ("arguments", "same_as"),
    [
        (["help"], ["--help"]),
        (["help", "apply"], ["apply", "--help"]),
        (["help", "certs", "renew"], ["certs", "renew", "--help"]),
    ],
)
def test_help_is_a_command_too(
    arguments: list[str], same_as: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 0
    shown = capsys.readouterr().out
    assert run(same_as) == 0
    assert capsys.readouterr().out == shown


def test_the_help_of_an_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["help", "aply"]) == 1
    assert "No such command 'aply'. Did you mean 'apply'?" in capsys.readouterr().err
    assert run(["help", "apply", "now"]) == 1
    assert "No such command 'now'." in capsys.readouterr().err


def test_the_version_is_a_command_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    shown = capsys.readouterr().out
    assert run(["version"]) == 0
    assert capsys.readouterr().out == shown
