"""Every key of every model with values of every type: a verdict, never a different exception."""

from __future__ import annotations

import datetime
import importlib
import inspect
import pkgutil
from typing import Any

import pytest
from pydantic_core import ValidationError

import deployer.playbook.schema as schema
from deployer.playbook.schema.models import Strict
from deployer.playbook.schema.values import InvalidValue

_HUGE = 10**400
VALUES: list[Any] = [
    *(None, True, 0, -1, _HUGE, -_HUGE, 1e308, float("inf"), float("nan"), -0.0),
    *("", " ", "\n", "a\0b", "é", "²", "١٢", "10²", "1" * 5000, "-", "..", "//", "%", "@"),
    *("http://[", "http://a:b:c", "unix:", "http://a:99999", "/..", "u=", "inf", "1e5", "²h"),
    *([], {}, [[]], [None], [{}], {"a": []}, {1: 2}, {None: 1}, {"file": []}, ("x",), b"\xff"),
    datetime.date(2020, 1, 1),
]
MODELS = {
    f"{found.__module__}.{found.__name__}": found
    for module in pkgutil.iter_modules(schema.__path__)
    for _, found in inspect.getmembers(
        importlib.import_module(f"{schema.__name__}.{module.name}"), inspect.isclass
    )
    if issubclass(found, Strict)
}


def _verdict(model: type[Strict], node: dict[str, Any]) -> None:
    list(model.combination_errors(node))
    try:
        model.validate(node)
    except ValidationError as error:
        for each in error.errors(include_url=False):
            if each["type"] == "value_error":  # of Python's own, such as "invalid literal for int"
                assert isinstance(each["ctx"]["error"], InvalidValue), (node, each["msg"])


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_key_takes_or_rejects_every_value(name: str) -> None:
    model = MODELS[name]
    for key in model.fields():
        for value in VALUES:
            _verdict(model, {key: value})
            _verdict(model, {key: [value]})
