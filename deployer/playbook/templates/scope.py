"""Variables by precedence, rendered on first use.

A `Scope` is a stack of `Layer`s; the last one wins. A variable's value may contain templates with
other variables; it is rendered when it is first used. The scope's state records whether a secret
variable was used: a task is secret if a secret was looked up to render it, regardless of its text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from deployer.model import Value
from deployer.playbook.templates import lazy, limits
from deployer.playbook.yaml.source import MergedVars, Spot, YamlMap, spot_of

if TYPE_CHECKING:
    from deployer.playbook.templates.templar import Templar

_SECRET_NAME = re.compile(r"ansible_(\w+_)?(password|pass)")


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


#: The result of `Scope.get` for an undefined name.
MISSING: object = _Missing()


class _Omit:
    def __repr__(self) -> str:
        return "omit"

    def __str__(self) -> str:
        raise TypeError("'omit' is not a text: it leaves out a whole argument or list item")


#: Ansible's ``omit``: an argument with this value is left out.
OMIT: object = _Omit()


@dataclass(frozen=True, slots=True)
class Layer:
    """The variables of one level of precedence; `raw` ones are never rendered as templates."""

    values: Mapping[str, Value]
    raw: bool = False
    secret: bool = False

    def spot(self, key: str) -> Spot | None:
        if isinstance(self.values, YamlMap):
            return spot_of(self.values, key)
        if isinstance(self.values, MergedVars):
            return self.values.spots.get(key)
        return None


@dataclass(slots=True)
class ScopeState:
    """The rendering state of a scope and those derived from it; used by one thread only."""

    touched_secret: bool = False
    rendering: dict[Hashable, str] = field(default_factory=dict)
    spot: Spot | None = None
    spent_s: float = 0.0
    text_length: int = 0

    @contextmanager
    def rendered_once(self, key: Hashable, name: str, spot: Spot) -> Iterator[None]:
        """While a value is rendered. Raises: SourceError, if that requires the value itself."""
        if key in self.rendering:
            names = list(self.rendering.values())
            chain = " → ".join([*names[list(self.rendering).index(key) :], name])
            raise spot.error(f"the variable '{name}' depends on itself: {chain}")
        self.rendering[key] = name
        try:
            yield
        finally:
            del self.rendering[key]

    def time_left_s(self) -> float:
        """CPU time that further expressions of this host may use."""
        return max(0.0, limits.HOST_S - self.spent_s)

    def add_text(self, length: int) -> None:
        """Raises: LimitError, if all expressions together have produced too much text."""
        self.text_length += length
        if self.text_length > limits.HOST_TEXT:
            raise limits.LimitError("all values of this host together are too long")


class Scope:
    """The variables of one host at one place of a playbook."""

    def __init__(
        self, layers: tuple[Layer, ...], *, templar: Templar, state: ScopeState | None = None
    ) -> None:
        self._layers = layers
        self._templar = templar
        self._cache: dict[str, tuple[Value, bool]] = {}
        self._lazy: dict[str, tuple[Value, bool]] = {}
        self.state = state or ScopeState()

    def over(self, *layers: Layer) -> Scope:
        """This scope with further layers on top."""
        return Scope((*self._layers, *layers), templar=self._templar, state=self.state)

    def names(self) -> set[str]:
        return {str(name) for layer in self._layers for name in layer.values}

    def get(self, key: str) -> Value:
        """A variable's rendered value, or `MISSING`.

        Raises: SourceError, if its value cannot be rendered, or depends on itself.
        """
        found = self._cache.get(key) or _scalar(self._lazy.get(key))
        if found is None:
            return self._resolved(key, self._cache, self._templar.whole)
        self.state.touched_secret |= found[1]
        return found[0]

    def lazy(self, key: str) -> Value:
        """A variable's value for use in a template: what is in it is rendered when it is used.

        Raises: SourceError, as for `get`.
        """
        found = self._lazy.get(key) or _scalar(self._cache.get(key))
        if found is None:
            return self._resolved(key, self._lazy, partial(self._entries, key))
        self.state.touched_secret |= found[1]
        return found[0]

    def _entries(self, key: str, value: Value, scope: Scope, spot: Spot) -> Value:
        templar = self._templar
        if not isinstance(value, (dict, list)):
            return templar.lazily(value, scope, spot)
        if value in templar.constants:
            return value
        return lazy.lazy(value, scope, spot, templar, key)

    def spot(self, key: str) -> Spot | None:
        """The position of the value of `key`; `None` if it is not from a file, or undefined."""
        for layer in reversed(self._layers):
            if key in layer.values:
                return layer.spot(key)
        return None

    def _resolved(
        self,
        key: str,
        cache: dict[str, tuple[Value, bool]],
        render: Callable[[Value, Scope, Spot], Value],
    ) -> object:
        for layer in reversed(self._layers):
            if key in layer.values:
                break
        else:
            return MISSING
        state = self.state
        value = layer.values[key]
        spot = layer.spot(key) or state.spot
        outer, state.touched_secret = (
            state.touched_secret,
            layer.secret or bool(isinstance(key, str) and _SECRET_NAME.fullmatch(key)),
        )
        try:
            if not layer.raw and spot is not None:
                with state.rendered_once((id(layer.values), key), key, spot):
                    value = render(value, self, spot)
            cache[key] = (value, state.touched_secret)
        finally:
            state.touched_secret |= outer
        return value


def _scalar(found: tuple[Value, bool] | None) -> tuple[Value, bool] | None:
    """The result of a rendering, if it is the same for a use in a template and elsewhere."""
    return None if found and isinstance(found[0], (dict, list, tuple, Mapping)) else found


class ScopeView(Mapping[str, Value]):
    """A scope as a mapping, for ``hostvars[host].name``."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def __getitem__(self, key: str) -> object:
        value = self._scope.lazy(key)
        if value is MISSING:
            raise KeyError(key)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._scope.names()))

    def __len__(self) -> int:
        return len(self._scope.names())
