"""Expressions mean what they mean in ansible-core 2.19, or are refused: compared with it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployer.errors import UsageError
from deployer.playbook import parse_extra_vars
from deployer.playbook.templates.loader import Includes
from deployer.playbook.templates.scope import OMIT, Layer, Scope
from deployer.playbook.templates.templar import Templar
from deployer.playbook.yaml.file import load_yaml
from deployer.playbook.yaml.source import SourceFile
from tests.support.waiting import PATIENCE_S

HERE = Path(__file__).parent
_ANSIBLE = Path(sys.prefix) / "ansible/bin/python"

Outcome = dict[str, Any]


def _lines(name: str) -> list[str]:
    return [line for line in (HERE / name).read_text().split("\n") if line]


CASES: dict[str, list[str]] = {
    "values": _lines("values.txt"),
    "templates": [each["text"] for each in yaml.safe_load((HERE / "templates.yml").read_text())],
    "conditions": _lines("conditions.txt"),
    "extra": _lines("extra.txt"),
}


@pytest.fixture(scope="module")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[Outcome]]:
    """What Ansible makes of every case, in one process."""
    if not _ANSIBLE.exists():
        pytest.fail("Ansible is not there: `make ansible` installs it", pytrace=False)
    cases = tmp_path_factory.mktemp("ansible") / "cases.json"
    cases.write_text(json.dumps(CASES))
    done = subprocess.run(
        [str(_ANSIBLE), str(HERE / "oracle.py"), str(HERE), str(cases)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, list[Outcome]] = json.loads(done.stdout)
    return found


class Ours:
    """The same by our means."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.templar = Templar()
        self.variables, file = load_yaml(HERE / "variables.yml")
        self.spot = file.spot((1, 1))
        self.scope = Scope((Layer(self.variables),), templar=self.templar)

    def values(self, text: str) -> Any:
        spot = SourceFile("values.txt", (text,)).spot((1, 1))
        return self.templar.render(text, self.scope, spot)

    def templates(self, text: str) -> Any:
        path = self.folder / f"{len(list(self.folder.iterdir()))}.j2"
        path.write_bytes(text.encode())
        includes = Includes((HERE / "templates", HERE), (HERE,))
        return self.templar.file(path, includes, self.scope, self.spot)

    def conditions(self, text: str) -> Any:
        return self.templar.condition(text, self.scope, self.spot)

    def extra(self, text: str) -> Any:
        given = parse_extra_vars([text])
        scope = self.scope.over(Layer(given))
        return {key: scope.get(key) for key in given}

    def outcome(self, kind: str, text: str) -> Outcome:
        try:
            return {"value": _plain(getattr(self, kind)(text))}
        except UsageError as error:
            return {"error": str(error)}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {"mapping": [[_plain(key), _plain(each)] for key, each in value.items()]}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if value is OMIT:
        raise UsageError("no value")
    assert type(value) in (str, int, float, bool, type(None)), value
    return value


def _is_same(ours: Any, theirs: Any) -> bool:
    """Equal with the same types: 1 is not 1.0."""
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_is_same, ours, theirs))
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return _is_same(_sorted(ours["mapping"]), _sorted(theirs["mapping"]))
    if isinstance(ours, float) and isinstance(theirs, float) and math.isnan(ours):
        return math.isnan(theirs)
    return type(ours) is type(theirs) and bool(ours == theirs)


def _sorted(pairs: Iterable[Any]) -> list[Any]:
    return sorted(pairs, key=repr)


@cache
def _known(name: str) -> frozenset[str]:
    return frozenset(_lines(name))


@pytest.mark.parametrize("kind", CASES)
def test_as_in_ansible(kind: str, ansible: Mapping[str, list[Outcome]], tmp_path: Path) -> None:
    ours = Ours(tmp_path)
    wrong = []
    for text, theirs in zip(CASES[kind], ansible[kind], strict=True):
        found = ours.outcome(kind, text)
        if "error" in found and "error" in theirs:
            continue
        if "error" in found:
            verdict = text in _known("refused.txt")
        elif "error" in theirs:
            verdict = text in _known("more.txt")
        else:
            verdict = _is_same(found["value"], theirs["value"])
        if not verdict:
            wrong.append(f"{text!r}\n    ours:    {found}\n    ansible: {theirs}")
    assert not wrong, f"{len(wrong)} differ\n" + "\n".join(wrong)


def test_at_least_three_hundred_expressions() -> None:
    assert sum(map(len, CASES.values())) >= 300
