"""Jinja2 as in Ansible, in a sandbox: expressions keep their types, undefined is an error."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from jinja2 import TemplateNotFound, nodes
from jinja2.exceptions import (
    TemplateRuntimeError,
    TemplateSyntaxError,
    UndefinedError,
)

from deployer.errors import SourceError, UsageError
from deployer.model import Value
from deployer.playbook.templates import filters, limits, native
from deployer.playbook.templates.kinds import kind
from deployer.playbook.templates.lazy import Constants
from deployer.playbook.templates.loader import (
    FolderLoader,
    Includes,
    NoLoader,
    RefusedIncludeError,
)
from deployer.playbook.templates.sandbox import (
    HEADER,
    SCOPE,
    SandboxEnvironment,
    SandboxTemplate,
    compiled,
)
from deployer.playbook.templates.scope import OMIT, Scope
from deployer.playbook.templates.undefined import UndefinedVariable, UsedError, raiser
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

_NAMES = {"Map": "dict", "List": "list"}
_NOT_HERE = "a plan must not depend on where it is made; put the value in a vars_files file"


def _refuse(what: str, why: str) -> Callable[..., NoReturn]:
    def refused(*_args: object, **_kwargs: Value) -> NoReturn:
        raise TemplateRuntimeError(f"{what} is not supported: {why}")

    return refused


def is_template(value: object) -> bool:
    """Whether a value is a string with Jinja syntax, and not ``!unsafe``."""
    if not isinstance(value, str) or isinstance(value, UnsafeText):
        return False
    return "{{" in value or "{%" in value or "{#" in value or value.startswith(HEADER)


class Templar:
    """Renders strings, structures and files, and caches compiled templates. Thread-safe."""

    def __init__(self) -> None:
        env = SandboxEnvironment(loader=NoLoader())
        env.extend_filters(filters.FILTERS, filters.TESTS)
        for name in ("lipsum", "cycler", "joiner"):
            env.globals.pop(name, None)
        for name in ("lookup", "query", "q", "now"):
            env.globals[name] = _refuse(name, _NOT_HERE)
        env.globals["omit"] = OMIT
        env.globals["undef"] = lambda hint=None: env.undefined(hint or "it must be overridden")
        self._env = env
        # In values, a backslash inside {{ }} is not an escape of Jinja's, as in Ansible.
        self._values = env.overlay()
        self._values.escapes = True
        self._compiled: dict[tuple[str, bool], _Compiled] = {}
        self._files: dict[tuple[Path, Includes], tuple[_Compiled | str, SourceFile]] = {}
        self._environments: dict[Includes, SandboxEnvironment] = {}
        self.constants = Constants(is_template)

    def render(self, value: Value, scope: Scope, spot: Spot) -> Value:
        """`value` with all templates rendered; a lone ``{{ x }}`` keeps the type of `x`.

        Raises: SourceError, at the position of the string that cannot be rendered.
        """
        found = self.whole(value, scope, spot)
        if found is OMIT:
            raise spot.error("'omit' leaves out an argument or list item; a value is required here")
        return found

    def whole(self, value: Value, scope: Scope, spot: Spot) -> Value:
        """The same for a variable, which may be `OMIT`."""
        if isinstance(value, str):
            return self._string(value, scope, spot)
        if not isinstance(value, (dict, list, tuple)):
            return value
        rendered = self._container(value, scope, spot)
        self._guarded(lambda: limits.check_size(rendered), scope, spot)
        return rendered

    def lazily(self, value: Value, scope: Scope, spot: Spot) -> Value:
        """The same for use in a template: what a mapping or list contains is rendered later."""
        if not isinstance(value, str):
            return self.whole(value, scope, spot)
        if isinstance(value, SecretText):
            scope.state.touched_secret = True
        if not is_template(value):
            return value
        template = self._compile
        return self._guarded(lambda: template(value, False).part(scope), scope, spot)

    def undefined(self, name: Value, error: UndefinedVariable) -> Value:
        """An undefined value whose use raises `error`."""
        return self._env.undefined(name=name, exc=raiser(error))

    def _container(self, value: Value, scope: Scope, spot: Spot) -> Value:
        def inner(value: Value, spot: Spot) -> Value:
            if isinstance(value, str):
                return self._string(value, scope, spot)
            return self._container(value, scope, spot)

        if isinstance(value, YamlMap):
            pairs = ((k, inner(v, spot_of(value, k))) for k, v in value.items())
            return value.like((k, v) for k, v in pairs if v is not OMIT)
        if isinstance(value, YamlList):
            rendered = (inner(v, spot_of(value, n)) for n, v in enumerate(value))
            return value.like(v for v in rendered if v is not OMIT)
        if type(value) is dict:
            return {k: inner(v, spot) for k, v in value.items()}
        if type(value) in (list, tuple):
            return type(value)(inner(v, spot) for v in value)
        return value

    def _string(self, value: str, scope: Scope, spot: Spot) -> Value:
        if isinstance(value, SecretText):
            scope.state.touched_secret = True
        return self._text(value, scope, spot) if is_template(value) else value

    def condition(self, expression: object, scope: Scope, spot: Spot) -> bool:
        """Whether the condition of a ``when:`` is true.

        Raises: SourceError, also for a value that is neither true nor false.
        """
        if isinstance(expression, bool):
            return expression
        if is_template(expression):
            raise spot.error("'when' is already an expression", hint="remove the {{ }} around it")
        value = self._guarded(
            lambda: self._compile(str(expression), True).value(scope), scope, spot
        )
        if not isinstance(value, bool):
            raise spot.error(
                f"'when' must be true or false, not {kind(value)}",
                hint="compare it, x == 'word' or x | length > 0, or convert it: x | bool",
            )
        return value

    def check(self, text: str, spot: Spot, *, expression: bool = False) -> None:
        """Check the syntax of a template or expression.

        Raises:
            SourceError: it is not valid Jinja.
        """
        self._guarded(lambda: self._compile(text, expression), None, spot)

    def file(self, path: Path, includes: Includes, scope: Scope, spot: Spot) -> str:
        """The rendered template file.

        Raises: SourceError, at the line of the template.
        """
        key = (path, includes)
        if key not in self._files:
            try:
                text = read_text(path, what="template")
            except UsageError as error:
                raise spot.error(error.problem, hint=error.hint) from None
            file = SourceFile(str(path), tuple(text.split("\n")))
            self._files[key] = (self._compile_file(text, file, includes), file)
        template, file = self._files[key]
        if isinstance(template, str):
            return template

        def rendered() -> str:
            value = template.value(scope)
            return "" if value is None else native.text(value)

        return str(self._guarded(rendered, scope, file.spot((1, 1))))

    def _compile_file(self, text: str, file: SourceFile, includes: Includes) -> _Compiled | str:
        if not is_template(text):
            return text
        if includes not in self._environments:
            self._environments[includes] = self._env.overlay(loader=FolderLoader(includes))
        env = self._environments[includes]
        spot = file.spot((1, 1))
        found: _Compiled = self._guarded(lambda: _compiled(env, text, file.path), None, spot)
        return found

    def _text(self, text: str, scope: Scope, spot: Spot) -> Value:
        return self._guarded(lambda: self._compile(text, False).value(scope), scope, spot)

    def _compile(self, text: str, expression: bool) -> _Compiled:
        key = (text, expression)
        if key not in self._compiled:
            if expression:
                self._compiled[key] = _compiled_expression(self._env, text)
            else:
                self._compiled[key] = _compiled(self._values, text, None)
        return self._compiled[key]

    def _guarded(self, evaluate: Callable[[], Value], scope: Scope | None, spot: Spot) -> Value:
        """Run an evaluation within limits, and convert its errors to errors with a position.

        Every value is rendered here, and everything that is lazy in it is consumed here.
        """
        state = scope.state if scope else None
        outer = state.spot if state else None
        if state is not None:
            state.spot = spot
        is_outermost = limits.begin(state.time_left_s() if state else limits.EXPRESSION_S)
        try:
            found = evaluate()
            if state is not None and isinstance(found, str):
                state.add_text(len(found))
            return found
        except UsedError as error:
            cause = error.cause()
            cause.__traceback__ = error.__traceback__
            raise self._converted(cause, scope, spot) from None
        except Exception as error:
            raise self._converted(error, scope, spot) from None
        finally:
            if is_outermost:
                spent_s = limits.end()
                if state is not None:
                    state.spent_s += spent_s
            if state is not None:
                state.spot = outer

    def _converted(self, error: Exception, scope: Scope | None, spot: Spot) -> SourceError:
        if isinstance(error, SourceError):
            return error
        if isinstance(error, UndefinedError):
            return _undefined(error, scope, spot)
        if isinstance(error, TemplateSyntaxError):
            return _syntax_spot(error, spot).error(*self._syntax(error))
        place = _inner_spot(error, spot)
        if isinstance(error, TemplateNotFound):
            return place.error(f"no template '{error.name}' to include")
        if isinstance(error, (RecursionError, MemoryError, OverflowError)):
            return place.error("the expression is too deep or too large")
        if isinstance(error, limits.LimitError):
            return place.error(f"the expression is stopped: {error}")
        if isinstance(error, RefusedIncludeError):
            return place.error(str(error))
        if scope is not None and scope.state.touched_secret:
            return place.error(
                "the expression fails (it uses a secret, so the reason is not shown)"
            )
        return place.error(f"the expression fails: {_shortened(str(error))}")

    def _syntax(self, error: TemplateSyntaxError) -> tuple[str]:
        message = str(error.message or "").rstrip(".")
        match = re.match(r"No (filter|test) named '(\w+)'", message)
        if match is not None:
            known = self._env.filters if match[1] == "filter" else self._env.tests
            why = filters.REFUSED.get(match[2], "")
            near = nearest(match[2], (name for name in known if name[0].isalpha()))
            tail = why or near
            return (f"no {match[1]} named '{match[2]}'" + (f"; {tail}" if tail else ""),)
        return (f"not a valid template: {_shortened(message)}",)


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A compiled template; `text` is its source."""

    template: SandboxTemplate
    text: str

    def value(self, scope: Scope) -> Value:
        """The template's value with the variables of `scope`."""
        return self._finished(self._result(scope))

    def part(self, scope: Scope) -> Value:
        """The same for use in a template: a mapping or list as it is."""
        result = self._result(scope)
        if isinstance(result, (dict, list)) and not self.template.changes:
            return result
        return self._finished(result)

    def _result(self, scope: Scope) -> Value:
        context = self.template.new_context({SCOPE: scope})
        result = native.join(self.template.root_render_func(context))
        environment = self.template.environment
        return native.with_newlines(self.text, result, environment.newline_sequence)

    def _finished(self, result: Value) -> Value:
        if isinstance(result, str):
            return str(result)
        found = native.final(result)
        limits.check_size(found)
        return found


def _compiled(environment: SandboxEnvironment, text: str, path: str | None) -> _Compiled:
    source, environment = environment.with_header(text)
    return _Compiled(compiled(environment, environment.parse(source, path, path), path), source)


def _compiled_expression(environment: SandboxEnvironment, text: str) -> _Compiled:
    tree = environment.parse("{{ " + text + "\n }}")
    lone = tree.body[0] if len(tree.body) == 1 else None
    if not isinstance(lone, nodes.Output) or len(lone.nodes) != 1:
        raise TemplateSyntaxError("not one expression", 1)
    if isinstance(lone.nodes[0], nodes.TemplateData):
        raise TemplateSyntaxError("not one expression", 1)
    return _Compiled(compiled(environment, tree, None), "")


def _shortened(text: str) -> str:
    text = re.sub(r"\b(?:Yaml|Lazy)(Map|List)\b", lambda name: _NAMES[name[1]], text)
    return text if len(text) <= 300 else f"{text[:300]}…"


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
