"""Typed mappings on pydantic's validation engine, without the cost of its model classes.

A `Strict` class is written like a pydantic model, and `pydantic_core` validates it: errors and
their locations are pydantic's. Only `pydantic.BaseModel` is not used: importing it and building its
classes took 120 ms of every command, as much as an SSH handshake; this takes 20 ms.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, ClassVar, Literal, TypeVar, Union, get_args, get_origin

from pydantic_core import SchemaValidator, core_schema

from deployer.model import Value

Model = TypeVar("Model", bound="Strict")
REQUIRED: Value = object()


class Check:
    """In ``Annotated``: a function that returns the value's canonical form, and its JSON Schema."""

    __slots__ = ("function", "schema")

    def __init__(self, function: Callable[[Value], Value], /, **schema: Value) -> None:
        self.function = function
        self.schema = schema


class Before:
    """In ``Annotated``: a function that converts a value to the type's shape before validation."""

    __slots__ = ("function", "schema")

    def __init__(self, function: Callable[[Value], Value], /, **schema: Value) -> None:
        self.function = function
        self.schema = schema


class Field:
    """A key of a model: its default, its description for editors, and the model of its value."""

    __slots__ = ("annotation", "default", "description", "limits", "model")

    def __init__(
        self, default: Value = REQUIRED, *, description: str = "", **limits: Value
    ) -> None:
        self.default = default
        self.description = description
        self.limits = limits
        self.annotation: Value = None
        self.model: type[Strict] | None = None

    @property
    def required(self) -> bool:
        return self.default is REQUIRED


def field(default: object = REQUIRED, *, description: str = "", **limits: Value) -> Value:
    """A `Field`, typed as `Any` so that it can be the default of an annotated attribute."""
    return Field(default, description=description, **limits)


class Misplaced(Exception):  # noqa: N818 - a finding about a mapping, never raised
    """A key that conflicts with other keys, or that other keys require."""

    def __init__(self, key: str | None, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.key = key
        self.problem = problem
        self.hint = hint


class Strict:
    """A mapping with known keys; `refused` has the reasons for unsupported keys of Ansible."""

    refused: ClassVar[Mapping[str, str]] = {}
    #: Aliases of its keys, which are replaced before validation.
    key_aliases: ClassVar[tuple[str, ...]] = ()
    _fields: ClassVar[dict[str, Field] | None] = None
    _validator: ClassVar[SchemaValidator | None] = None

    @classmethod
    def combination_errors(cls, node: Mapping[str, object]) -> Iterator[Misplaced]:
        """Errors in the combination of keys of `node`, whose values may still be templates."""
        yield from ()

    @classmethod
    def fields(cls) -> dict[str, Field]:
        """The keys, in the order of the class."""
        if "_fields" not in cls.__dict__:
            found: dict[str, Field] = {}
            for base in reversed(cls.__mro__):
                scope = vars(sys.modules[base.__module__])
                for name, text in inspect.get_annotations(base).items():
                    if text.startswith("ClassVar") or name.startswith("_"):
                        continue
                    given = base.__dict__.get(name, REQUIRED)
                    each = given if isinstance(given, Field) else Field(given)
                    # The annotations are this package's own source, not user input.
                    each.annotation = eval(text, scope)  # noqa: S307 - own annotations
                    each.model = model_in(each.annotation)
                    found[name] = each
            cls._fields = found
        return cls._fields or {}

    @classmethod
    def validate(cls: type[Model], value: object) -> Model:
        """Validate `value` as this model.

        Raises:
            pydantic_core.ValidationError: it is invalid.
        """
        if "_validator" not in cls.__dict__:
            cls._validator = SchemaValidator(_model(cls))
        assert cls._validator is not None  # noqa: S101 - set in the line above
        model: Model = cls._validator.validate_python(value)
        return model


def _model(model: type[Strict]) -> Value:
    fields = {}
    for name, each in model.fields().items():
        inner = core(each.annotation, **each.limits)
        if not each.required:
            inner = core_schema.with_default_schema(inner, default=each.default)
        fields[name] = core_schema.model_field(inner)
    return core_schema.model_schema(
        model, core_schema.model_fields_schema(fields, extra_behavior="forbid")
    )


def _is_mapping(value: object) -> str:
    return "mapping" if isinstance(value, Mapping) else "other"


def core(annotation: object, **limits: Value) -> Value:
    """The engine's schema of a type."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _annotated(args, limits)
    if origin in (Union, types.UnionType):
        return _union(args, limits)
    if origin is Literal:
        return core_schema.literal_schema(list(args))
    if origin is list:
        return core_schema.list_schema(core(args[0]), **limits)
    if origin is dict:
        return core_schema.dict_schema()
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        return _model(annotation)
    if annotation is float:
        return core_schema.float_schema(**limits)
    if annotation is bool:
        return core_schema.bool_schema()
    if annotation is str:
        return core_schema.str_schema()
    return _any(annotation)


def _any(annotation: object) -> Value:
    if annotation is Value:
        return core_schema.any_schema()
    raise TypeError(f"no schema for {annotation!r}")


def _annotated(args: tuple[object, ...], limits: Mapping[str, Value]) -> Value:
    for extra in args[1:]:
        if isinstance(extra, Check):
            return core_schema.no_info_plain_validator_function(extra.function)
        if isinstance(extra, Before):
            inner = core(args[0], **limits)
            return core_schema.no_info_before_validator_function(extra.function, inner)
    raise TypeError(f"no schema for {args!r}")


def _union(args: tuple[object, ...], limits: Mapping[str, Value]) -> Value:
    kinds = [each for each in args if each is not type(None)]
    inner = core(kinds[0], **limits)
    if len(kinds) == 2:
        # One of two shapes, selected by the value, so that errors are about one of them only.
        models = {"other": inner, "mapping": core(kinds[1])}
        inner = core_schema.tagged_union_schema(models, discriminator=_is_mapping)
    return core_schema.nullable_schema(inner) if len(kinds) < len(args) else inner


def model_in(annotation: object) -> type[Strict] | None:
    """The model in an annotation: itself, or an argument of it."""
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        return annotation
    for each in get_args(annotation):
        found = model_in(each)
        if found is not None:
            return found
    return None
