"""``deployer completion`` without a shell; tests/integration runs its scripts."""

from __future__ import annotations

import pytest

from deployer.cli.main import run


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", "tcsh"]) == 1
    assert "'bash', 'zsh', 'fish'" in capsys.readouterr().err
