"""Types of values in terms of YAML, and plain copies for serialisers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jinja2 import Undefined

from deployer.model import Value


def kind(value: Value) -> str:
    """The type of a value, in YAML terms."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return "nothing" if value is None else "a value"


def plain(value: object) -> Value:
    """`value` with only plain Python types, for serialisers that check exact types."""
    if isinstance(value, Undefined):
        value._fail_with_undefined_error()
    if isinstance(value, Mapping):
        return {plain(key): plain(each) for key, each in value.items()}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [plain(each) for each in value]
    return value


def is_list(value: object) -> bool:
    """Whether Ansible treats `value` as a list."""
    return isinstance(value, (list, tuple))


def as_text(value: object) -> str:
    """`value` as text; bytes are decoded."""
    return value.decode() if isinstance(value, bytes) else str(value)


def required_text(value: object) -> str:
    """`value`, if it is a text. Raises: TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"must be a string, not {kind(value)}")
    return value


def frozen(value: object) -> Value:
    """A hashable key that is equal for equal values."""
    if isinstance(value, Mapping):
        return "mapping", frozenset((key, frozen(each)) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return type(value).__name__ == "tuple", tuple(frozen(each) for each in value)
    return value
