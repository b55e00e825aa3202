"""Jinja2 as in Ansible, in a sandbox: expressions keep their types, undefined is an error."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

from jinja2 import Template, TemplateNotFound, Undefined, nodes
from jinja2.exceptions import (
    TemplateRuntimeError,
    TemplateSyntaxError,
    UndefinedError,
)

from deployer.errors import SourceError, UsageError
from deployer.model import Value
from deployer.playbook.templates import filters
from deployer.playbook.templates.sandbox import (
    SCOPE,
    FolderLoader,
    ReadableUndefined,
    SandboxEnvironment,
    UndefinedVariable,
)
from deployer.playbook.templates.scope import OMIT, Scope
from deployer.playbook.yaml.file import read_text
from deployer.playbook.yaml.source import (
    SourceFile,
    Spot,
    UnsafeText,
    YamlList,
    YamlMap,
    nearest,
    spot_of,
)
from deployer.playbook.yaml.vault import SecretText

_WORDS = {"true": True, "yes": True, "on": True, "1": True}
_WORDS |= {"false": False, "no": False, "off": False, "0": False, "": False}


def _refuse(what: str, why: str) -> Callable[..., NoReturn]:
    def refused(*_args: object, **_kwargs: Value) -> NoReturn:
        raise TemplateRuntimeError(f"{what} is not supported: {why}")

    return refused


def is_template(value: object) -> bool:
    """Whether a value is a string with Jinja syntax, and not ``!unsafe``."""
    if isinstance(value, UnsafeText):
        return False
    return isinstance(value, str) and ("{{" in value or "{%" in value or "{#" in value)


class Templar:
    """Renders strings, structures and files, and caches compiled templates. Thread-safe."""

    def __init__(self) -> None:
        env = SandboxEnvironment(
            undefined=ReadableUndefined, trim_blocks=True, keep_trailing_newline=True
        )
        env.filters.update(filters.FILTERS)
        env.tests.update(filters.TESTS)
        for name in ("lipsum", "cycler", "joiner"):
            env.globals.pop(name, None)
        why = "a plan must not depend on where it is made; put the value in a vars_files file"
        for name in ("lookup", "query", "q"):
            env.globals[name] = _refuse(name, why)
        env.globals["omit"] = OMIT
        self._env = env
        self._compiled: dict[tuple[str, bool], tuple[Template, bool]] = {}
        self._files: dict[tuple[Path, tuple[Path, ...]], tuple[Template, SourceFile]] = {}
        self._folders: dict[tuple[Path, ...], SandboxEnvironment] = {}

    def render(self, value: Value, scope: Scope, spot: Spot) -> Value:
        """`value` with all templates rendered; a lone ``{{ x }}`` keeps the type of `x`.

        Raises: SourceError, at the position of the string that cannot be rendered.
        """
        if isinstance(value, str):
            if isinstance(value, SecretText):
                scope.state.touched_secret = True
            return self._text(value, scope, spot) if is_template(value) else value
        if isinstance(value, YamlMap):
            pairs = ((k, self.render(v, scope, spot_of(value, k))) for k, v in value.items())
            return value.like((k, v) for k, v in pairs if v is not OMIT)
        if isinstance(value, YamlList):
            rendered = (self.render(v, scope, spot_of(value, n)) for n, v in enumerate(value))
            return value.like(v for v in rendered if v is not OMIT)
        if type(value) is dict:
            return {k: self.render(v, scope, spot) for k, v in value.items()}
        if type(value) in (list, tuple):
            return type(value)(self.render(v, scope, spot) for v in value)
        return value

    def condition(self, expression: object, scope: Scope, spot: Spot) -> bool:
        """Whether the condition of a ``when:`` is true.

        Raises: SourceError, also for a string that is neither true nor false.
        """
        if isinstance(expression, bool):
            return expression
        if is_template(expression):
            raise spot.error("'when' is already an expression", hint="remove the {{ }} around it")
        value = self._guarded(lambda: self._expression(str(expression), scope), scope, spot)
        if isinstance(value, str):
            if value.strip().lower() not in _WORDS:
                raise spot.error(
                    "'when' must be true or false, not a string",
                    hint="compare it: x == 'word', or x | length > 0",
                )
            return _WORDS[value.strip().lower()]
        return bool(value)

    def check(self, text: str, spot: Spot, *, expression: bool = False) -> None:
        """Check the syntax of a template or expression.

        Raises:
            SourceError: it is not valid Jinja.
        """
        self._guarded(lambda: self._compile(text, expression), None, spot)

    def file(self, path: Path, folders: tuple[Path, ...], scope: Scope, spot: Spot) -> str:
        """The rendered template file; its includes are searched in `folders`.

        Raises: SourceError, at the line of the template.
        """
        key = (path, folders)
        if key not in self._files:
            try:
                text = read_text(path, what="template")
            except UsageError as error:
                raise spot.error(error.problem, hint=error.hint) from None
            file = SourceFile(str(path), tuple(text.split("\n")))
            self._files[key] = (self._compile_file(text, file, folders), file)
        template, file = self._files[key]
        text = self._guarded(
            lambda: "".join(template.root_render_func(_context(template, scope))),
            scope,
            file.spot((1, 1)),
        )
        return str(text)

    def _compile_file(self, text: str, file: SourceFile, folders: tuple[Path, ...]) -> Template:
        if folders not in self._folders:
            self._folders[folders] = self._env.overlay(loader=FolderLoader(folders))
        env = self._folders[folders]
        try:
            code = env.compile(text, file.path, file.path)
        except TemplateSyntaxError as error:
            raise file.spot((error.lineno, 1)).error(*self._syntax(error)) from None
        return env.template_class.from_code(env, code, env.make_globals(None))

    def _text(self, text: str, scope: Scope, spot: Spot) -> Value:
        def evaluate() -> Value:
            template, lone = self._compile(text, False)
            context = _context(template, scope)
            output = "".join(template.root_render_func(context))
            return _native(context.vars["result"]) if lone else output

        return self._guarded(evaluate, scope, spot)

    def _expression(self, text: str, scope: Scope) -> Value:
        template, _ = self._compile(text, True)
        context = _context(template, scope)
        for _ in template.root_render_func(context):
            pass
        return _native(context.vars["result"])

    def _compile(self, text: str, expression: bool) -> tuple[Template, bool]:
        key = (text, expression)
        if key not in self._compiled:
            env = self._env
            lone: nodes.Expr | None = None
            tree = env.parse("{{ " + text + "\n }}" if expression else text)
            if len(tree.body) == 1 and isinstance(tree.body[0], nodes.Output):
                parts = tree.body[0].nodes
                if len(parts) == 1 and not isinstance(parts[0], nodes.TemplateData):
                    lone = parts[0]
            if expression and lone is None:
                raise TemplateSyntaxError("not one expression", 1)
            if lone is not None:
                body = nodes.Assign(nodes.Name("result", "store"), lone, lineno=1)
                tree = nodes.Template([body], lineno=1)
                tree.set_environment(env)
            self._compiled[key] = (env.from_string(tree), lone is not None)
        return self._compiled[key]

    def _guarded(self, evaluate: Callable[[], object], scope: Scope | None, spot: Spot) -> Value:
        """Run an evaluation, and convert its errors to errors with a position."""
        outer = scope.state.spot if scope else None
        if scope is not None:
            scope.state.spot = spot
        try:
            return evaluate()
        except SourceError:
            raise
        except UndefinedError as error:
            raise _undefined(error, scope, spot) from None
        except TemplateSyntaxError as error:
            raise _syntax_spot(error, spot).error(*self._syntax(error)) from None
        except TemplateNotFound as error:
            raise _inner_spot(error, spot).error(f"no template '{error.name}' to include") from None
        except (RecursionError, MemoryError, OverflowError):
            raise _inner_spot(None, spot).error("the expression is too deep or too large") from None
        except Exception as error:
            if scope is not None and scope.state.touched_secret:
                text = "the expression fails (it uses a secret, so the reason is not shown)"
            else:
                text = f"the expression fails: {error}"
            raise _inner_spot(error, spot).error(text) from None
        finally:
            if scope is not None:
                scope.state.spot = outer

    def _syntax(self, error: TemplateSyntaxError) -> tuple[str]:
        message = str(error.message or "").rstrip(".")
        match = re.match(r"No (filter|test) named '(\w+)'", message)
        if match is not None:
            known = self._env.filters if match[1] == "filter" else self._env.tests
            why = filters.REFUSED.get(match[2], "")
            near = nearest(match[2], (name for name in known if name[0].isalpha()))
            tail = why or near
            return (f"no {match[1]} named '{match[2]}'" + (f"; {tail}" if tail else ""),)
        return (f"not a valid template: {message}",)


def _context(template: Template, scope: Scope) -> Value:
    return template.new_context({SCOPE: scope})


def _native(value: object) -> Value:
    if isinstance(value, Undefined):
        value._fail_with_undefined_error()
    if isinstance(value, (types.GeneratorType, map, filter, range)) or (
        isinstance(value, Iterable)
        and type(value).__name__ in ("dict_keys", "dict_values", "dict_items")
    ):
        return list(value)
    return value


def _inner_spot(error: BaseException | None, spot: Spot) -> Spot:
    """The line of the template file in which `error` was raised; `spot` if there is none."""
    found = spot
    trace = error.__traceback__ if error else None
    while trace is not None:
        template = trace.tb_frame.f_globals.get("__jinja_template__")
        if template is not None and template.filename and template.filename != "<template>":
            line = template.get_corresponding_lineno(trace.tb_lineno)
            file = spot.file
            if file.path != template.filename:
                try:
                    lines = tuple(read_text(Path(template.filename)).split("\n"))
                except UsageError:
                    lines = ()
                file = SourceFile(template.filename, lines)
            found = file.spot((line, 1))
        trace = trace.tb_next
    return found


def _fact_hint(name: str) -> str:
    if name.startswith("ansible_"):
        return "facts are only known for a host"
    if name == "item":
        return "'item' requires a task with 'loop'"
    return ""


def _syntax_spot(error: TemplateSyntaxError, spot: Spot) -> Spot:
    """The place of a syntax error, which may be in an included template."""
    if not error.filename:
        return spot
    lines = tuple((error.source or "").split("\n"))
    return SourceFile(error.filename, lines).spot((error.lineno, 1))


def _undefined(error: UndefinedError, scope: Scope | None, spot: Spot) -> UndefinedVariable:
    message, hint = str(error), ""
    name = re.fullmatch(r"'(\w+)' is undefined", message)
    if name is not None and scope is not None:
        hint = nearest(name[1], scope.names()) or _fact_hint(name[1])
    place = _inner_spot(error, spot)
    if name is not None and place is not spot:
        column = place.file.lines[place.line - 1].find(name[1]) + 1
        place = place.file.spot((place.line, max(column, 1)))
    bad = place.error(message, hint=hint)
    return UndefinedVariable(bad.problem, source=bad.source, excerpt=bad.excerpt, hint=bad.hint)
