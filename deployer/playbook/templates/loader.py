"""``{% include %}``, ``{% import %}`` and ``{% extends %}``: only from the project's folders."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import BaseLoader, Environment, Template, TemplateNotFound
from jinja2.exceptions import TemplateRuntimeError

from deployer.errors import UsageError
from deployer.model import Value
from deployer.playbook.templates.sandbox import SandboxEnvironment, compiled
from deployer.playbook.yaml.file import read_text


class RefusedIncludeError(TemplateRuntimeError):
    """A template includes a file that it must not read; never hidden by ``ignore missing``."""


@dataclass(frozen=True, slots=True)
class Includes:
    """Where a template may include from: `folders` are searched, in order.

    The files must be inside one of `roots`, after links are followed.
    """

    folders: tuple[Path, ...]
    roots: tuple[Path, ...]


class FolderLoader(BaseLoader):
    """Finds the templates that others include."""

    def __init__(self, includes: Includes) -> None:
        self._includes = includes

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str, Callable[[], bool]]:
        """The text of a template, and its path.

        Raises: RefusedIncludeError, TemplateNotFound.
        """
        name = Path(template)
        if name.is_absolute() or ".." in name.parts or "\0" in template:
            raise RefusedIncludeError(
                f"{template!r} cannot be included: name a file below a templates folder, "
                "without '..'"
            )
        for folder in self._includes.folders:
            path = folder / name
            if path.is_file():
                self._check_inside(path)
                try:
                    return read_text(path, what="template"), str(path), lambda: True
                except UsageError as error:
                    raise RefusedIncludeError(error.problem) from None
        raise TemplateNotFound(template)

    def load(
        self,
        environment: Environment,
        name: str,
        globals: MutableMapping[str, Value] | None = None,
    ) -> Template:
        """The compiled template."""
        assert isinstance(environment, SandboxEnvironment)  # noqa: S101 - for mypy
        source, path, _ = self.get_source(environment, name)
        return compiled(environment, environment.parse(source, name, path), path)

    def _check_inside(self, path: Path) -> None:
        real = path.resolve()
        if not any(real.is_relative_to(root.resolve()) for root in self._includes.roots):
            raise RefusedIncludeError(
                f"{path} cannot be included: it is a link to {real}, outside of the folders of the "
                "role and the playbook"
            )


class NoLoader(BaseLoader):
    """Refuses every include of a value."""

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str, Callable[[], bool]]:
        """Raises: RefusedIncludeError."""
        raise RefusedIncludeError(
            f"{template!r} cannot be included here: only template files include others"
        )
