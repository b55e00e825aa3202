"""The agent as a package: what is in the bundle, and what its modules may import."""

from __future__ import annotations

import ast
import io
import sys
import zipfile

from deployer.agent.bundle import archive, digest, sources
from deployer.agent.start import sources_in


def imports_of(path: str) -> set[str]:
    """The agent's modules that a module imports, now or later; not those for type checkers."""
    tree = ast.parse(sources()[path], feature_version=(3, 8))
    checked = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for body in node.body
        for inner in ast.walk(body)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in checked:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = str(node.module)
            names = {f"{module}.{alias.name}" for alias in node.names}
            found.update(names & MODULES or {module})
    return found


MODULES = {path[:-3].replace("/", ".").removesuffix(".__init__") for path in sources()}
IMPORTS = {
    path[:-3].replace("/", ".").removesuffix(".__init__"): imports_of(path) for path in sources()
}


def test_every_module_is_python_3_8_and_imports_the_standard_library_alone() -> None:
    for module, imported in IMPORTS.items():
        others = {name.partition(".")[0] for name in imported - MODULES}
        assert others <= set(sys.stdlib_module_names), module


def test_no_module_imports_itself_by_way_of_others() -> None:
    left = {module: imported & MODULES for module, imported in IMPORTS.items()}
    while left:
        free = {module for module, imported in left.items() if not imported & set(left)}
        assert free, f"these import each other: {sorted(left)}"
        left = {module: imported for module, imported in left.items() if module not in free}


def test_modules_are_small() -> None:
    for path, source in sources().items():
        assert source.count(b"\n") <= 500, path


def test_the_zip_file_is_the_same_everywhere() -> None:
    packed = zipfile.ZipFile(io.BytesIO(archive()))
    assert packed.namelist()[0] == "deployer/agent/start.py"
    for member in packed.infolist():
        assert member.date_time == (1980, 1, 1, 0, 0, 0)
        assert member.compress_type == zipfile.ZIP_STORED
        assert member.extra == b""
    assert len(digest()) == 64


def test_the_agent_reads_its_own_zip_file() -> None:
    read = sources_in(archive())
    expected = {path[:-3].replace("/", "."): source for path, source in sources().items()}
    assert {name: read[name] for name in expected} == expected
    assert set(read) - set(expected) == {"deployer.__init__", "__main__"}
