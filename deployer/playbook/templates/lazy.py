"""Variables whose entries are rendered when a template uses them, as in ansible-core 2.19.

``{{ conf.a }}`` does not render ``conf.b``, which may refer to an undefined variable. An entry that
is undefined is a value like any other until it is used. What leaves a template is rendered whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, Self

from deployer.model import Value
from deployer.playbook.templates.undefined import UndefinedVariable
from deployer.playbook.yaml.source import Spot, UnsafeText, YamlList, YamlMap, spot_of
from deployer.playbook.yaml.vault import SecretText

if TYPE_CHECKING:
    from deployer.playbook.templates.scope import Scope


class Renderer(Protocol):
    """What renders entries."""

    constants: Constants

    def lazily(self, value: Value, scope: Scope, spot: Spot) -> Value: ...
    def render(self, value: Value, scope: Scope, spot: Spot) -> Value: ...
    def undefined(self, name: Value, error: UndefinedVariable) -> Value: ...


class _Pending:
    """An entry that has not been rendered."""

    __slots__ = ("spot", "value")

    def __init__(self, value: Value, spot: Spot) -> None:
        self.value = value
        self.spot = spot


@dataclass(slots=True)
class _Source:
    """A container of a file, and how its entries are rendered.

    `changeable`: a template may change this copy.
    """

    node: Value
    scope: Scope
    spot: Spot
    renderer: Renderer
    name: str
    changeable: bool = False
    is_variable: bool = False
    _whole: tuple[Value, bool] | None = None

    def entry(self, key: Value, value: Value) -> Value:
        is_constant = value in self.renderer.constants
        if is_constant and not (self.changeable and isinstance(value, (dict, list))):
            return value
        is_marked = isinstance(self.node, (YamlMap, YamlList))
        return _Pending(value, spot_of(self.node, key) if is_marked else self.spot)

    def rendered(self, key: Value, entry: _Pending) -> tuple[Value, bool]:
        """The value of an entry, and whether it may be kept: the use of a secret is recorded."""
        name = f"{self.name}.{key}"
        if isinstance(entry.value, (dict, list)):
            inner = replace(self, node=entry.value, spot=entry.spot, name=name, is_variable=False)
            inner._whole = None
            return container(inner), True
        state = self.scope.state
        outer, state.touched_secret = state.touched_secret, False
        try:
            with state.rendered_once((id(self.node), key), name, entry.spot):
                value = self.renderer.lazily(entry.value, self.scope, entry.spot)
        except UndefinedVariable as error:
            value = self.renderer.undefined(key, error)
        finally:
            is_secret = state.touched_secret
            state.touched_secret |= outer
        return value, not is_secret

    def whole(self) -> Value:
        """The container with all entries rendered."""
        if self.is_variable:
            return self.scope.get(self.name)
        state = self.scope.state
        if self._whole is None:
            outer, state.touched_secret = state.touched_secret, False
            try:
                with state.rendered_once((id(self.node), None), self.name, self.spot):
                    value = self.renderer.render(self.node, self.scope, self.spot)
                self._whole = value, state.touched_secret
            finally:
                state.touched_secret |= outer
        value, is_secret = self._whole
        state.touched_secret |= is_secret
        return value


class LazyMap(dict[Value, Value]):
    """A mapping of a variable."""

    __slots__ = ("source",)

    def __init__(self, source: _Source) -> None:
        node = source.node
        super().__init__((key, source.entry(key, each)) for key, each in node.items())
        self.source = source

    def _value(self, key: Value, entry: Value) -> Value:
        if type(entry) is not _Pending:
            return entry
        value, is_kept = self.source.rendered(key, entry)
        if is_kept:
            super().__setitem__(key, value)
        return value

    def __getitem__(self, key: Value) -> Value:
        return self._value(key, super().__getitem__(key))

    def get(self, key: Value, default: Value = None) -> Value:
        return self._value(key, super().get(key, default))

    def __iter__(self) -> Iterator[Value]:
        return super().__iter__()  # dict() copies entries as they are, unless this is overridden

    def items(self) -> Iterator[tuple[Value, Value]]:  # type: ignore[override]
        for key in list(self):
            yield key, self[key]

    def values(self) -> Iterator[Value]:  # type: ignore[override]
        for _, value in self.items():
            yield value

    def copy(self) -> dict[Value, Value]:
        return dict(self.items())

    def setdefault(self, key: Value, default: Value = None) -> Value:
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: Value, *default: Value) -> Value:
        value = self.get(key)
        found = super().pop(key, *default)
        return value if type(found) is _Pending else found

    def popitem(self) -> tuple[Value, Value]:
        if not self:
            raise KeyError("the mapping is empty")
        key = next(reversed(self))
        return key, self.pop(key)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, dict) or len(other) != len(self):
            return False
        return other is self or dict(self) == dict(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __repr__(self) -> str:
        return repr(whole(self))


class LazyList(list[Value]):
    """A list of a variable."""

    __slots__ = ("source",)

    def __init__(self, source: _Source) -> None:
        super().__init__(source.entry(number, each) for number, each in enumerate(source.node))
        self.source = source

    def _at(self, index: int) -> Value:
        entry = super().__getitem__(index)
        if type(entry) is not _Pending:
            return entry
        value, is_kept = self.source.rendered(index, entry)
        if is_kept:
            super().__setitem__(index, value)
        return value

    def __getitem__(self, index: Value) -> Value:
        if isinstance(index, slice):
            return [self._at(number) for number in range(*index.indices(len(self)))]
        return self._at(index)

    def __iter__(self) -> Iterator[Value]:
        number = 0
        while number < len(self):
            yield self._at(number)
            number += 1

    def __reversed__(self) -> Iterator[Value]:
        for number in range(len(self) - 1, -1, -1):
            yield self._at(number)

    def copy(self) -> list[Value]:
        return list(self)

    def pop(self, index: Value = -1) -> Value:
        value = self[index] if self else None
        super().pop(index)
        return value

    def __contains__(self, value: object) -> bool:
        return value in self.copy()

    def __add__(self, other: list[Value]) -> list[Value]:
        return list.__add__(self.copy(), _copied(other))

    def __radd__(self, other: list[Value]) -> list[Value]:
        return list.__add__(other, self.copy()) if isinstance(other, list) else NotImplemented

    def __mul__(self, number: Value) -> list[Value]:
        return list.__mul__(self.copy(), number)

    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, list) or len(other) != len(self):
            return False
        return other is self or self.copy() == _copied(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: Value) -> bool:
        return bool(self.copy() < _copied(other))

    def __le__(self, other: Value) -> bool:
        return bool(self.copy() <= _copied(other))

    def __gt__(self, other: Value) -> bool:
        return bool(self.copy() > _copied(other))

    def __ge__(self, other: Value) -> bool:
        return bool(self.copy() >= _copied(other))

    def _resolve(self) -> Self:
        for number in range(len(self)):
            super().__setitem__(number, self._at(number))
        return self

    def index(self, *args: Value) -> int:
        return self.copy().index(*args)

    def count(self, value: Value) -> int:
        return self.copy().count(value)

    def remove(self, value: Value) -> None:
        list.remove(self._resolve(), value)

    def sort(self, **options: Value) -> None:
        list.sort(self._resolve(), **options)

    def __repr__(self) -> str:
        return repr(whole(self))


LAZY = (LazyMap, LazyList)


def _copied(value: Value) -> Value:
    return value.copy() if isinstance(value, LazyList) else value


def container(source: _Source) -> LazyMap | LazyList:
    return LazyMap(source) if isinstance(source.node, dict) else LazyList(source)


def lazy(node: Value, scope: Scope, spot: Spot, renderer: Renderer, name: str) -> Value:
    """The mapping or list of a variable, whose entries are rendered when they are used."""
    return container(_Source(node, scope, spot, renderer, name, is_variable=True))


def changeable(value: LazyMap | LazyList) -> Value:
    """A copy that a template may change."""
    return container(replace(value.source, changeable=True, is_variable=False))


def is_changeable(value: Value) -> bool:
    """Whether a template may change this mapping or list."""
    if isinstance(value, LAZY):
        return bool(value.source.changeable)
    return type(value) in (dict, list)


def whole(value: LazyMap | LazyList) -> Value:
    """`value` with everything in it rendered; a copy that was changed is a plain container."""
    if not value.source.changeable:
        return value.source.whole()
    return dict(value.items()) if isinstance(value, LazyMap) else list(value)


class Constants:
    """Which containers of files contain no templates, and no secrets: they are used as they are."""

    def __init__(self, is_template: Callable[[object], bool]) -> None:
        self._is_template = is_template
        self._known: dict[int, tuple[Value, bool]] = {}  # with each container, so that its id stays

    def __contains__(self, value: Value) -> bool:
        if isinstance(value, str):
            return isinstance(value, UnsafeText) or not (
                isinstance(value, SecretText) or self._is_template(value)
            )
        if not isinstance(value, (dict, list, tuple)):
            return True
        known = self._known.get(id(value))
        if known is None:
            entries: Iterable[Value] = value.values() if isinstance(value, dict) else value
            known = self._known[id(value)] = (value, all(each in self for each in entries))
        return known[1]
