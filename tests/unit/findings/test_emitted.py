"""Every code that is emitted has its page."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deployer.findings import codes
from tests.support.paths import ROOT

#: What makes a finding, and which of its positional arguments are codes.
_MAKERS = {
    "Alternative": slice(0),
    "Diagnosis": slice(1),
    "Fault": slice(0),
    "Finding": slice(0),
    "finding": slice(1),
    "alternatives": slice(None),
}


def _trees() -> Iterator[ast.Module]:
    for path in sorted((ROOT / "deployer").rglob("*.py")):
        if "findings" not in path.parts and "playbooks" not in path.parts:
            yield ast.parse(path.read_text())


def _texts(node: ast.AST | None) -> Iterator[str]:
    """The texts that an expression may have as its value."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=other):
            yield from _texts(body)
            yield from _texts(other)


def _made(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id not in _MAKERS:
                continue
            named = [word.value for word in node.keywords if word.arg == "code"]
            for value in [*named, *node.args[_MAKERS[node.func.id]]]:
                yield from _texts(value)


def test_what_is_made_has_its_page() -> None:
    made = {code for tree in _trees() for code in _made(tree)}
    assert len(made) > 30
    assert made - set(codes()) == set()


def test_every_page_is_about_something_that_is_found() -> None:
    texts = {
        node.value
        for tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(codes()) - texts == set()
