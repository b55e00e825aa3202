"""The sandbox of templates: undefined values, accessible attributes, and size limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from jinja2 import BaseLoader, StrictUndefined, TemplateNotFound
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from deployer.errors import SourceError
from deployer.model import Value
from deployer.playbook.templates import filters
from deployer.playbook.templates.scope import MISSING, Scope
from deployer.playbook.yaml.file import read_text
from deployer.playbook.yaml.source import nearest

#: The key of the `Scope` in a template's context; names of variables cannot contain a space.
SCOPE = " scope"
_MAX_LENGTH = 8 * 1024 * 1024
_PLAIN_METHODS = frozenset(dir(dict)) | frozenset(dir(list))


class UndefinedVariable(SourceError):  # noqa: N818 - like Jinja's UndefinedError, with a position
    """A variable, key or attribute is undefined."""


class ReadableUndefined(StrictUndefined):
    """Undefined values with messages in terms of the playbook instead of Python."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        if self._undefined_hint:
            return self._undefined_hint
        if self._undefined_obj is missing:
            return f"'{self._undefined_name}' is undefined"
        known = (
            nearest(str(self._undefined_name), map(str, self._undefined_obj))
            if isinstance(self._undefined_obj, Mapping)
            else ""
        )
        kind = filters.kind(self._undefined_obj)
        return f"{kind} has no '{self._undefined_name}'" + (f"; {known}" if known else "")


class _Context(Context):
    """Looks names up in a `Scope`, so that a variable is rendered when it is used."""

    def resolve_or_missing(self, key: str) -> Value:
        if key in self.vars:
            return self.vars[key]
        found = self.parent.get(key, missing)
        if found is not self.environment.globals.get(key, missing):
            return found  # set by a template for one that it includes
        scope: Scope | None = self.parent.get(SCOPE)
        if scope is not None:
            try:
                value = scope.get(key)
            except UndefinedVariable as error:
                # Undefined, so that `default` and `is defined` work; any use raises the error.
                return self.environment.undefined(name=key, exc=_raiser(error))
            if value is not MISSING:
                return value
        return found


def _raiser(error: SourceError) -> Value:
    return lambda _message: error


class SandboxEnvironment(ImmutableSandboxedEnvironment):
    context_class = _Context
    intercepted_binops = frozenset({"*", "**", "+"})

    def call_binop(self, context: Value, operator: str, left: Value, right: Value) -> object:
        if operator == "**" and (abs(left) > 10**6 or abs(right) > 64):
            raise SecurityError("the result of the power is too large")
        if operator == "*":
            sizes = [len(each) for each in (left, right) if isinstance(each, (str, list, tuple))]
            counts = [each for each in (left, right) if isinstance(each, int)]
            if sizes and counts and sizes[0] * counts[0] > _MAX_LENGTH:
                raise SecurityError("the string or list would be too long")
        return super().call_binop(context, operator, left, right)

    def getattr(self, obj: Value, attribute: str) -> object:
        found = self._plain(obj, attribute)
        return super().getattr(obj, attribute) if found is MISSING else found

    def getitem(self, obj: Value, argument: Value) -> object:
        found = self._plain(obj, argument)
        return super().getitem(obj, argument) if found is MISSING else found

    def _plain(self, obj: Value, key: Value) -> object:
        """Keys of a mapping come before methods; attributes of `YamlMap` are not accessible."""
        if isinstance(obj, dict):
            try:
                if key in obj:
                    return obj[key]
            except TypeError:
                return MISSING
        elif not isinstance(obj, list) or not isinstance(key, str):
            return MISSING
        if isinstance(key, str) and key in _PLAIN_METHODS:
            return MISSING
        return self.undefined(obj=obj, name=key)


class FolderLoader(BaseLoader):
    """``{% include %}`` from a role's and a playbook's templates folders."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self.folders = folders

    def get_source(self, environment: Value, template: str) -> tuple[str, str, Callable[[], bool]]:
        if ".." not in Path(template).parts:
            for folder in self.folders:
                path = folder / template
                if path.is_file():
                    return read_text(path, what="template"), str(path), lambda: True
        raise TemplateNotFound(template)
