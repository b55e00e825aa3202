"""Every emitted code has a page, and every page is for an emitted code."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deployer.findings import codes
from tests.support.paths import ROOT

#: Callables that create a finding, and which of their positional arguments are codes.
_CREATORS = {
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
    """The strings that an expression can evaluate to."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=other):
            yield from _texts(body)
            yield from _texts(other)


def _emitted(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id not in _CREATORS:
                continue
            named = [word.value for word in node.keywords if word.arg == "code"]
            for value in [*named, *node.args[_CREATORS[node.func.id]]]:
                yield from _texts(value)


def test_every_emitted_code_has_a_page() -> None:
    # An empty code is replaced by the general one of the failure.
    emitted = {code for tree in _trees() for code in _emitted(tree) if code}
    assert len(emitted) > 30
    assert emitted - set(codes()) == set()


def test_every_page_is_for_an_emitted_code() -> None:
    texts = {
        node.value
        for tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(codes()) - texts == set()
