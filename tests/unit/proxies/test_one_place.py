"""A proxy's name is written in its own folders, in the two registries, and nowhere else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from deployer.proxies import PROXIES
from tests.support.paths import ROOT

_SOURCE = ROOT / "deployer"
_NAMES = re.compile(
    "|".join(sorted({"httpd", *PROXIES, *(each.unit for each in PROXIES.values())})), re.IGNORECASE
)
#: Each with the reason why the names are there.
_ALLOWED = {
    "proxies/__init__.py": "the registry",
    "model.py": "the type of a site's `proxy`: a type checker cannot take it from the registry",
    "lab/images.py": "the packages of disposable hosts",
    "agent/proxies/__init__.py": "the agent's registry, as it cannot import the other one",
    "agent/proxies/others.py": "other web servers, some of which have the name of one in theirs",
    "agent/replies.py": "the same type for the agent",
    "sites/auth_services.py": "the path of a service that is called after a proxy",
}


def _own_folders() -> tuple[str, ...]:
    folders = ("proxies", "agent/proxies")
    return tuple(f"{folder}/{name}/" for folder in folders for name in PROXIES)


def _named(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each identifier and string that has a proxy's name, without docstrings."""
    tree = ast.parse(source)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        for text in _texts(node):
            if id(node) not in docstrings and _NAMES.search(text):
                yield getattr(node, "lineno", 0), text


def _texts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
        yield node.value if isinstance(node.value, str) else node.value.decode("latin-1")
    for field in ("id", "attr", "arg", "name", "asname", "module"):
        value = getattr(node, field, None)
        if isinstance(value, str):
            yield value


def test_a_proxy_is_named_in_its_own_places_alone() -> None:
    found = []
    for path in sorted(_SOURCE.rglob("*.py")):
        if not path.resolve().is_relative_to(_SOURCE):
            continue  # roles and playbooks are links
        name = str(path.relative_to(_SOURCE))
        if name in _ALLOWED or name.startswith(_own_folders()):
            continue
        found += [f"{name}:{line}: {text[:80]}" for line, text in _named(path.read_text())]
    assert found == []


def test_no_exception_is_out_of_date() -> None:
    assert [name for name in _ALLOWED if not list(_named((_SOURCE / name).read_text()))] == []


def test_what_names_a_proxy_is_seen() -> None:
    source = '"""nginx."""\nfrom x import apache_y\ndef haproxy(): return {"Nginx": b"httpd"}\n'
    assert [line for line, _ in _named(source)] == [3, 2, 3, 3]
