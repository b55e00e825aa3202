"""Variables by precedence, rendered on first use.

A `Scope` is a stack of `Layer`s; the last one wins. A variable's value may contain templates with
other variables; it is rendered when it is first used. The scope's state records whether a secret
variable was used: a task is secret if a secret was looked up to render it, regardless of its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deployer.model import Value
from deployer.playbook.templates import limits
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
    rendering: list[str] = field(default_factory=list)
    spot: Spot | None = None
    spent_s: float = 0.0
    text_length: int = 0

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
        if key in self._cache:
            value, secret = self._cache[key]
            self.state.touched_secret |= secret
            return value
        for layer in reversed(self._layers):
            if key in layer.values:
                return self._resolve(key, layer)
        return MISSING

    def spot(self, key: str) -> Spot | None:
        """The position of the value of `key`; `None` if it is not from a file, or undefined."""
        for layer in reversed(self._layers):
            if key in layer.values:
                return layer.spot(key)
        return None

    def _resolve(self, key: str, layer: Layer) -> object:
        state = self.state
        value = layer.values[key]
        spot = layer.spot(key) or state.spot
        outer, state.touched_secret = (
            state.touched_secret,
            layer.secret or bool(isinstance(key, str) and _SECRET_NAME.fullmatch(key)),
        )
        try:
            if not layer.raw and spot is not None:
                if key in state.rendering:
                    chain = " → ".join([*state.rendering[state.rendering.index(key) :], key])
                    raise spot.error(f"the variable '{key}' depends on itself: {chain}")
                state.rendering.append(key)
                try:
                    value = self._templar.render(value, self, spot)
                finally:
                    state.rendering.pop()
            self._cache[key] = (value, state.touched_secret)
        finally:
            state.touched_secret |= outer
        return value


class ScopeView(Mapping[str, Value]):
    """A scope as a mapping, for ``hostvars[host].name``."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def __getitem__(self, key: str) -> object:
        value = self._scope.get(key)
        if value is MISSING:
            raise KeyError(key)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._scope.names()))

    def __len__(self) -> int:
        return len(self._scope.names())
