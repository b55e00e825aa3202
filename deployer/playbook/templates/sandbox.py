"""The environment of templates: Jinja as ansible-core 2.19 sets it up, in a sandbox with limits.

What differs from plain Jinja, as in Ansible: results keep their types (`native`), undefined values
pass through filters (`undefined`), and in values of a playbook a backslash inside ``{{ }}`` has no
meaning for Jinja, as YAML has already processed it. Template files and conditions keep Jinja's own
rule. A template may change copies of its variables, never the variables themselves.
"""

from __future__ import annotations

import ast
import operator as operators
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from string import Formatter
from types import CodeType
from typing import ClassVar

from jinja2 import Template, nodes, pass_context, pass_environment
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.lexer import Lexer
from jinja2.nativetypes import NativeCodeGenerator
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.utils import missing

from deployer.model import Value
from deployer.playbook.templates import limits, native, plugins
from deployer.playbook.templates.lazy import is_changeable
from deployer.playbook.templates.scope import MISSING, Scope
from deployer.playbook.templates.undefined import (
    ReadableUndefined,
    UndefinedVariable,
    UsedError,
    raiser,
)

#: Keys in a template's context; names of variables cannot contain a space.
SCOPE = " scope"
COPIES = " copies"

HEADER = "#jinja2:"
_SETTINGS = (
    "block_start_string",
    "block_end_string",
    "variable_start_string",
    "variable_end_string",
    "comment_start_string",
    "comment_end_string",
    "line_statement_prefix",
    "line_comment_prefix",
    "trim_blocks",
    "lstrip_blocks",
    "newline_sequence",
    "keep_trailing_newline",
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = frozenset("\\'\"abfnrtvxuUN01234567\n")
_COMPARISONS: dict[str, Callable[[Value, Value], object]] = {
    "eq": operators.eq,
    "ne": operators.ne,
    "lt": operators.lt,
    "lteq": operators.le,
    "gt": operators.gt,
    "gteq": operators.ge,
    "in": lambda left, right: left in right,
    "notin": lambda left, right: left not in right,
}
_MAX_TOKENS = 100_000
_METHODS = frozenset(name for kind in (dict, list) for name in dir(kind) if name[0] != "_")
_CHANGES = frozenset(
    [
        "append",
        "clear",
        "extend",
        "insert",
        "pop",
        "popitem",
        "remove",
        "reverse",
        "setdefault",
        "sort",
        "update",
    ]
)
_ITEMS, _METHOD = " items", " method"


def _literal(escape: re.Match[str]) -> str:
    return escape[0].replace("\\", "\\\\")


def _valid(escape: re.Match[str]) -> str:
    """A backslash that begins no escape of Python is literal; Python would warn."""
    return escape[0] if escape[1] in _ESCAPED else "\\" + escape[0]


class _Lexer(Lexer):
    """Counts tokens, and with `escapes` doubles the backslashes of strings inside ``{{ }}``."""

    escapes = False

    def tokeniter(
        self, source: str, name: str | None, filename: str | None = None, state: str | None = None
    ) -> Iterator[tuple[int, str, str]]:
        is_inside = False
        tokens = super().tokeniter(source, name, filename, state)
        for count, (line, kind, text) in enumerate(tokens):
            if count > _MAX_TOKENS:
                raise TemplateSyntaxError(f"it has more than {_MAX_TOKENS:,} tokens", line)
            if kind == "variable_begin":
                is_inside = True
            elif kind == "variable_end":
                is_inside = False
            elif kind == "string" and "\\" in text:
                text = _ESCAPE.sub(_literal if self.escapes and is_inside else _valid, text)
            yield line, kind, text


class _CodeGenerator(NativeCodeGenerator):
    """Code whose parts keep their types, and whose text operations have limits."""

    def _output_const_repr(self, group: Iterable[Value]) -> str:
        found = list(group)
        return repr(found[0] if len(found) == 1 else "".join(map(str, found)))

    def visit_Concat(self, node: nodes.Concat, frame: Value) -> None:  # noqa: N802 - Jinja's name
        self.write("environment.joined((")
        for each in node.nodes:
            self.visit(each, frame)
            self.write(", ")
        self.write("))")

    def visit_Compare(self, node: nodes.Compare, frame: Value) -> None:  # noqa: N802 - Jinja's name
        self.write(f"environment.compared({tuple(each.op for each in node.ops)!r}, (")
        for each in (node.expr, *(operand.expr for operand in node.ops)):
            self.visit(each, frame)
            self.write(", ")
        self.write("))")


class _Context(Context):
    """Looks names up in a `Scope`, so that a variable is rendered when it is used."""

    def resolve_or_missing(self, key: str) -> Value:
        if key in self.vars:
            return self.vars[key]
        found = self.parent.get(key, missing)
        if found is not self.environment.globals.get(key, missing):
            return found  # set by a template for one that it includes
        copies: dict[str, Value] | None = self.parent.get(COPIES)
        if copies is not None and key in copies:
            return copies[key]
        scope: Scope | None = self.parent.get(SCOPE)
        if scope is not None:
            try:
                value = scope.lazy(key)
            except UndefinedVariable as error:
                # Undefined, so that `default` and `is defined` work; any use raises the error.
                return self.environment.undefined(name=key, exc=raiser(error))
            if value is not MISSING:
                if copies is not None:
                    value = copies[key] = native.thawed(value)
                return value
        return found


@pass_context
def _output(_context: Context, value: Value) -> Value:
    """Called for the value of each ``{{ }}``, where an error still has its position."""
    limits.step()
    if isinstance(value, ReadableUndefined):
        raise UsedError(value)
    return value


@pass_environment
def _method(environment: SandboxEnvironment, value: Value, name: str) -> Value:
    """A method that is called: it comes before a key of the same name, as in Ansible."""
    if isinstance(value, (dict, list)) and hasattr(value, name):
        if name not in _CHANGES or is_changeable(value):
            return getattr(value, name)
        raise SecurityError(f"{name}() cannot change a variable here")
    return environment.getattr(value, name)


class _Formatter(SandboxedFormatter):
    """``str.format`` without huge widths."""

    def format_field(self, value: Value, format_spec: str) -> str:
        plugins.check_format(format_spec, ())
        limits.check_size(value)
        return str(Formatter.format_field(self, value, format_spec))


class SandboxTemplate(Template):
    """A template that may change copies of the variables that its includer gives it."""

    changes = False

    def new_context(
        self,
        vars: dict[str, Value] | None = None,
        shared: bool = False,
        locals: Mapping[str, Value] | None = None,
    ) -> Context:
        if self.changes:
            copied: dict[int, Value] = {}
            vars = {key: native.thawed(each, copied) for key, each in (vars or {}).items()}
            vars[COPIES] = {}
            locals = {key: native.thawed(each, copied) for key, each in (locals or {}).items()}
        return super().new_context(vars, shared, locals)


class SandboxEnvironment(ImmutableSandboxedEnvironment):
    """See the module."""

    template_class = SandboxTemplate
    context_class = _Context
    code_generator_class = _CodeGenerator
    concat = staticmethod(native.join)
    intercepted_binops = frozenset({"*", "**", "+", "%"})
    #: Whether backslashes in strings of ``{{ }}`` are literal.
    escapes = False
    _lexers: ClassVar[dict[tuple[Value, ...], _Lexer]] = {}

    def __init__(self, **options: Value) -> None:
        super().__init__(undefined=ReadableUndefined, trim_blocks=True, finalize=_output, **options)
        self.optimized = False  # what a filter does at compile time has no position and no limits
        filters: dict[str, Value] = {**self.filters}
        filters |= {_ITEMS: limits.counted, _METHOD: _method}
        self.extend_filters(filters, {})
        self.extend_filters({}, self.tests)

    def extend_filters(self, filters: Mapping[str, Value], tests: Mapping[str, Value]) -> None:
        """Add filters and tests."""
        self.filters |= {
            name: plugins.wrapped(name, each, is_test=False) for name, each in filters.items()
        }
        self.tests |= {
            name: plugins.wrapped(name, each, is_test=True) for name, each in tests.items()
        }

    @property
    def lexer(self) -> Lexer:
        key = (self.escapes, *(getattr(self, name) for name in _SETTINGS))
        lexer = self._lexers.get(key)
        if lexer is None:
            lexer = self._lexers[key] = _Lexer(self)
            lexer.escapes = self.escapes
        return lexer

    def with_header(self, text: str) -> tuple[str, SandboxEnvironment]:
        """A template without its ``#jinja2:`` line, and the environment with its settings.

        Raises: TemplateSyntaxError.
        """
        if not text.startswith(HEADER):
            return text, self
        line, _, rest = text.partition("\n")
        settings: dict[str, Value] = {}
        for pair in line.removeprefix(HEADER).split(","):
            name, colon, value = pair.partition(":")
            if not colon or name.strip() not in _SETTINGS:
                raise TemplateSyntaxError(
                    f"{HEADER} takes {', '.join(_SETTINGS)}, not {name.strip()!r}", 1
                )
            try:
                settings[name.strip()] = ast.literal_eval(value.strip())
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                raise TemplateSyntaxError(f"{value.strip()!r} is not a value", 1) from None
        return rest, self.overlay(**settings)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for node in tree.find_all((nodes.For, nodes.Call)):
            if isinstance(node, nodes.For):
                node.iter = self._filtered(node.iter, _ITEMS, node.lineno)
            elif isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
                owner, method, line = node.node.node, node.node.attr, node.node.lineno
                if method in _METHODS:
                    node.node = self._filtered(owner, _METHOD, line, method)
        return tree

    def _filtered(self, value: nodes.Node, name: str, line: int, *args: str) -> nodes.Filter:
        """`value | name(*args)`, as if it were written in this line."""
        place = {"lineno": line, "environment": self}
        constants = [nodes.Const(each, **place) for each in args]
        return nodes.Filter(value, name, constants, [], None, None, **place)

    def _compile(self, source: str, filename: str) -> CodeType:
        with warnings.catch_warnings():  # of the generated code, such as "'int' is not callable"
            warnings.simplefilter("ignore", SyntaxWarning)
            return super()._compile(source, filename)

    # --- operations -------------------------------------------------------------------------------

    def joined(self, parts: Iterable[Value]) -> str:
        """The result of ``a ~ b``."""
        limits.step()
        texts = [str(part) if isinstance(part, str) else native.shown(part) for part in parts]
        limits.check_text(sum(map(len, texts)))
        return "".join(texts)

    def compared(self, names: tuple[str, ...], values: tuple[Value, ...]) -> object:
        """The result of ``a < b <= c``; comparing two containers may visit everything in them."""
        limits.step()
        result: object = True
        for name, left, right in zip(names, values, values[1:], strict=False):
            are_containers = isinstance(left, native.CONTAINERS) and isinstance(
                right, native.CONTAINERS
            )
            if are_containers and (name not in ("eq", "ne") or len(left) == len(right)):
                limits.check_size(left)
                limits.check_size(right)
            result = _COMPARISONS[name](left, right)
            if not result:
                break
        return result

    def call_binop(self, context: Value, operator: str, left: Value, right: Value) -> object:
        limits.step()
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            if left.bit_length() * max(right, 0) > limits.MAX_BITS:
                raise limits.LimitError("the result of the power is too large")
        elif operator == "*":
            _check_product(left, right)
        elif operator == "+" and hasattr(left, "__len__") and hasattr(right, "__len__"):
            most = limits.MAX_TEXT if isinstance(left, str) else limits.MAX_VALUES
            if len(left) + len(right) > most:
                raise limits.LimitError("the text or list would be too long")
        elif operator == "%" and isinstance(left, str):
            values = right if isinstance(right, tuple) else (right,)
            plugins.check_format(left, values)
            limits.check_size(list(values))
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Value, *args: Value, **kwargs: Value) -> Value:  # noqa: N805 - free names for keyword arguments
        limits.step()
        is_macro = isinstance(__obj, Macro)
        undefined = None if is_macro else plugins.first_undefined(args, kwargs)
        if undefined is not None:
            return undefined
        plugins.check_call(__obj, args, kwargs)
        try:
            result = super().call(__context, __obj, *args, **kwargs)
        except UsedError as error:
            return error.value
        return plugins.checked(result)

    def wrap_str_format(self, value: Value) -> Callable[..., str] | None:
        text = getattr(value, "__self__", None)
        name = getattr(value, "__name__", "")
        if not isinstance(text, str) or name not in ("format", "format_map"):
            return None

        def formatted(*args: Value, **kwargs: Value) -> str:
            if name == "format_map":
                return str(_Formatter(self).vformat(text, (), *args))
            return str(_Formatter(self).vformat(text, args, kwargs))

        return formatted

    # --- access -----------------------------------------------------------------------------------

    def getattr(self, obj: Value, attribute: str) -> object:
        try:
            found = self._plain(obj, attribute)
            return super().getattr(obj, attribute) if found is MISSING else found
        except UndefinedVariable as error:
            return self.undefined(name=attribute, exc=raiser(error))

    def getitem(self, obj: Value, argument: Value) -> object:
        try:
            found = self._plain(obj, argument)
            return super().getitem(obj, argument) if found is MISSING else found
        except UndefinedVariable as error:
            return self.undefined(name=argument, exc=raiser(error))

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
        if isinstance(key, str) and key in _METHODS:
            return MISSING
        return self.undefined(obj=obj, name=key)


def compiled(
    environment: SandboxEnvironment, tree: nodes.Template, path: str | None
) -> SandboxTemplate:
    """A parsed template as code."""
    code = environment.compile(tree, path, path)
    template = environment.template_class.from_code(
        environment, code, environment.make_globals(None)
    )
    assert isinstance(template, SandboxTemplate)  # noqa: S101 - for mypy
    template.changes = _changes(tree)
    return template


def _changes(tree: nodes.Template) -> bool:
    """Whether a template may change a variable, itself or in a file that it includes."""
    others = (nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport)
    for node in tree.find_all((nodes.Filter, *others)):
        if not isinstance(node, nodes.Filter):
            return True
        if node.name == _METHOD and node.args[0].as_const() in _CHANGES:
            return True
    return False


def _check_product(left: Value, right: Value) -> None:
    for one, other in ((left, right), (right, left)):
        if isinstance(one, int) and isinstance(other, (str, bytes, list, tuple)):
            most = limits.MAX_TEXT if isinstance(other, (str, bytes)) else limits.MAX_VALUES
            if len(other) * one > most:
                raise limits.LimitError("the text or list would be too long")
    are_integers = isinstance(left, int) and isinstance(right, int)
    if are_integers and left.bit_length() + right.bit_length() > limits.MAX_BITS:
        raise limits.LimitError("the result of the multiplication is too large")
