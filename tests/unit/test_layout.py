"""The limits on sizes that ruff does not check: long functions, long files, the top of the tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter

from tests.support.paths import ROOT

_MAX_FUNCTION_LINES = 60
_MAX_FILE_LINES = 500
_MAX_TOP_MODULES = 6
_MAX_IMPORT_RULE_LINES = 60

_FOLDERS = ("deployer", "roles", "playbooks", "tests", "benchmarks")


def _sources() -> Iterator[tuple[str, str]]:
    for folder in _FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if path.resolve().is_relative_to(ROOT.resolve() / folder):
                yield name, path.read_text()


def _long_functions(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            if length > _MAX_FUNCTION_LINES:
                yield f"{node.name} has {length} lines"


def test_functions_are_short() -> None:
    found = [f"{name}: {each}" for name, source in _sources() for each in _long_functions(source)]
    assert found == []


def test_files_are_short() -> None:
    lengths = {name: len(source.splitlines()) for name, source in _sources()}
    assert {name: n for name, n in lengths.items() if n > _MAX_FILE_LINES} == {}


def test_few_modules_are_directly_in_the_package() -> None:
    modules = sorted(path.name for path in (ROOT / "deployer").glob("*.py"))
    assert len(modules) <= _MAX_TOP_MODULES, modules


def test_the_import_rules_are_short() -> None:
    lines = (ROOT / "setup.cfg").read_text().splitlines()
    rules = lines[lines.index("[importlinter]") :]
    assert len(rules) <= _MAX_IMPORT_RULE_LINES


def test_no_module_imports_itself_through_others() -> None:
    graph = {name: set(_imports(source)) for name, source in _modules().items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules


@cache
def _modules() -> dict[str, str]:
    """The sources of the package by dotted name; links to roles and playbooks left out."""
    found = {}
    for path in sorted((ROOT / "deployer").rglob("*.py")):
        if path.resolve() == path:
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path.read_text()
    return found


def _imports(source: str) -> Iterator[str]:
    """The package's modules that a module imports at run time, at any depth."""
    modules = _modules().keys()
    pending: list[ast.AST] = [ast.parse(source)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        pending.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.ImportFrom) and node.module:
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from named & modules or {node.module} & modules
