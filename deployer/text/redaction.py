"""Masking of secrets in all output."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

_Value = TypeVar("_Value")


def masked(value: _Value, secrets: Collection[str]) -> _Value:
    """`value` with every text of `secrets` masked, also in mappings, lists and dataclasses.

    Args:
        secrets: the texts to mask; longer ones are replaced first, as they may contain others.
    """
    if not secrets:
        return value
    masked_value: _Value = _masked(value, sorted(secrets, key=len, reverse=True))
    return masked_value


def _masked(value: object, secrets: list[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, "(secret)")
        return value
    if isinstance(value, bytes):
        for secret in secrets:
            value = value.replace(secret.encode(), b"(secret)")
        return value
    if isinstance(value, Mapping):
        return {key: _masked(each, secrets) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_masked(each, secrets) for each in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = (each.name for each in dataclasses.fields(value) if each.init)
        changes = {name: _masked(getattr(value, name), secrets) for name in fields}
        return dataclasses.replace(value, **changes)
    return value
