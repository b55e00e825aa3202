"""Completion scripts in the real shells."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployer.cli.main import run
from tests.support.terminal import Terminal
from tests.support.waiting import PATIENCE_S

#: The shells' own functions for completion, called with the script, the words and the last one.
_BASH = """
source "$1"
COMP_WORDS=(deployer $2 "$3"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_deployer_completion deployer; printf '%s\\n' "${COMPREPLY[@]}"
"""
_FISH = """
source $argv[1]; complete -C "deployer $argv[2] $argv[3]"
"""
_PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

#: What is typed before Tab, and what it becomes.
CASES = [
    ("", "roll", "rollback"),
    ("apply", "--skip", "--skip-tags"),
    ("certs", "ren", "renew"),
    ("init", "goac", "goaccess"),
    ("help", "recov", "recover"),
]


def script_for(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The script that the command prints for `shell`, as a file."""
    assert run(["completion", shell]) == 0
    script = folder / "script"
    script.write_text(capsys.readouterr().out)
    return script


@pytest.mark.parametrize(
    ("shell", "start"),
    [
        ("bash", ["bash", "--norc", "-c", _BASH, "bash"]),
        ("fish", ["fish", "--no-config", "-c", _FISH]),
    ],
)
def test_bash_and_fish_complete(
    shell: str, start: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = script_for(shell, tmp_path, capsys)
    for words, incomplete, expected in CASES:
        done = subprocess.run(
            [*start, str(script), words, incomplete],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
            env={**os.environ, "PATH": _PATH},
        )
        assert expected in done.stdout.split(), done


def test_zsh_completes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It completes in its line editor only, which needs a terminal."""
    script = script_for("zsh", tmp_path, capsys)
    with Terminal(["zsh", "-f", "-i"], {**os.environ, "PATH": _PATH, "TERM": "dumb"}) as terminal:
        terminal.type(f"PS1=; autoload -U compinit; compinit -u -D; source {script}\n")
        terminal.type("echo rea''dy\n")
        terminal.wait_for("ready")
        for words, incomplete, expected in CASES:
            terminal.type(f"deployer {words} {incomplete}\t")
            terminal.wait_for(expected)
            terminal.type("\x15")  # Ctrl-U clears the line
