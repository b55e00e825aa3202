"""Unit files are read by systemd's own reader before systemd loads them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deployer.agent.children import Children
from deployer.agent.errors import StepError
from deployer.agent.unit_files import check_unit_files

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="it comes with systemd"
)


def checked(path: Path, text: str) -> list[str]:
    path.write_text(text)
    said: list[str] = []
    check_unit_files(Children(lambda: False), [str(path), "/etc/missing.service"], said.append)
    return said


GOOD = "[Unit]\nDescription=x\n[Service]\nUser=daemon\nExecStart=/bin/true\n"


def test_a_valid_unit(tmp_path: Path) -> None:
    assert checked(tmp_path / "x.service", GOOD) == []


@pytest.mark.parametrize("line", ["junk", "LimitNOFILE=abc", 'ExecStart=/bin/true "open'])
def test_a_line_that_systemd_would_ignore(line: str, tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"x\.service, line 6: "):
        checked(tmp_path / "x.service", f"{GOOD}{line}\n")


def test_a_setting_of_a_later_version_is_reported(tmp_path: Path) -> None:
    (said,) = checked(tmp_path / "x.service", f"{GOOD}ProtectTheMoon=yes\n")
    assert "line 6: Unknown key" in said


def test_other_files_are_not_units(tmp_path: Path) -> None:
    assert checked(tmp_path / "x.txt", "junk\n") == []
