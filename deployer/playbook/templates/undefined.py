"""Undefined values: as in Ansible they pass through attributes and filters, up to a ``default``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from jinja2 import StrictUndefined
from jinja2.exceptions import UndefinedError
from jinja2.utils import missing

from deployer.errors import SourceError
from deployer.model import Value
from deployer.playbook.templates.kinds import kind
from deployer.playbook.yaml.source import nearest


class UndefinedVariable(SourceError):  # noqa: N818 - like Jinja's UndefinedError, with a position
    """A variable, key or attribute is undefined."""


class UsedError(UndefinedError):
    """The undefined value `value` was used, not only passed on."""

    def __init__(self, value: ReadableUndefined) -> None:
        super().__init__(value._undefined_message)
        self.value = value

    def cause(self) -> Exception:
        """The error to report: Jinja's, or that of the variable's own value."""
        return self.value.exception()


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
        what = kind(self._undefined_obj)
        return f"{what} has no '{self._undefined_name}'" + (f"; {known}" if known else "")

    def exception(self) -> Exception:
        """The error of a use of this value."""
        error: Exception = self._undefined_exception(self._undefined_message)
        return error

    def _fail_with_undefined_error(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise UsedError(self)

    def __getattr__(self, name: str) -> Value:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, _key: object) -> Value:
        return self


# StrictUndefined binds these to a function of Jinja, not to the method of that name.
_USES = (
    "add bool call complex contains div eq float floordiv ge gt hash int iter le len lt mod mul ne "
    "neg pos pow radd rdiv repr rfloordiv rmod rmul rpow rsub rtruediv str sub truediv format"
)
for _name in _USES.split():
    setattr(ReadableUndefined, f"__{_name}__", ReadableUndefined._fail_with_undefined_error)


def raiser(error: SourceError) -> Value:
    """For an undefined value whose use raises `error`."""
    return lambda _message: error
