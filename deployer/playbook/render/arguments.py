"""The variables of roles, checked against their argument specifications before any is used.

As in Ansible, the check does not depend on tags, and a role whose own `when` is false is not
checked. Values are those that the role's tasks would see.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from deployer.errors import SourceError, SourceErrors
from deployer.model import Value
from deployer.playbook.builtin import roles_path
from deployer.playbook.load.library import LoadedRole
from deployer.playbook.render.variables import HostVariables
from deployer.playbook.schema.argument_specs import Options
from deployer.playbook.schema.arguments import ArgumentError, Arguments
from deployer.playbook.templates.scope import MISSING, Layer, Scope
from deployer.playbook.yaml.source import Problems, Spot, YamlList, YamlMap, spot_of


def check_arguments(
    variables: HostVariables, roles: Iterable[LoadedRole], problems: Problems
) -> None:
    """Check the variables of `roles`; those of built-in roles are converted to their types."""
    templar = variables.library.templar
    for role in roles:
        if role.options is None:
            continue
        scope = variables.scope(role)
        outer, scope.state.spot = scope.state.spot, role.spot
        try:
            if all(templar.condition(each, scope, spot) for each, spot in role.conditions):
                _check(role, role.options, variables, scope, problems)
        except (SourceError, SourceErrors) as error:
            problems.add(error)
        finally:
            scope.state.spot = outer


def _check(
    role: LoadedRole, options: Options, variables: HostVariables, scope: Scope, problems: Problems
) -> None:
    is_builtin = role.folder.parent == roles_path()
    own = {str(name) for layer in role.var_layers if layer.raw for name in layer.values}
    arguments = Arguments(strict=is_builtin, own=frozenset(own - set(variables.extra.values)))
    values: dict[str, Value] = {}
    secret: set[str] = set()
    failed: dict[str, SourceError] = {}
    for name in options:
        scope.state.touched_secret = False
        try:
            value = scope.get(name)
        except SourceError as error:
            failed[name] = error
            continue
        if scope.state.touched_secret:
            secret.add(name)
        if value is not MISSING:
            values[name] = value
    converted = arguments.check(options, values)
    wrongs = [each for each in arguments.errors if str(each.path[0]) not in failed]
    if failed and not wrongs:  # what is wrong may be why others fail: a default that uses it
        problems.add(next(iter(failed.values())))
        return
    for wrong in wrongs:
        name = str(wrong.path[0])
        spot = _spot(wrong, role, values, scope)
        hint = wrong.hint or _origin(name, variables)
        problems.add(spot.error(wrong.text(secret=name in secret), hint=hint))
    if is_builtin:
        changed = {name for name, value in converted.items() if _differs(value, values[name])}
        for is_secret, names in ((False, changed - secret), (True, changed & secret)):
            if names:
                typed = {name: converted[name] for name in names}
                variables.add_typed(role, Layer(typed, raw=True, secret=is_secret))


def _differs(one: Value, other: Value) -> bool:
    return type(one) is not type(other) and not isinstance(other, (YamlMap, YamlList, tuple))


def _origin(name: str, variables: HostVariables) -> str:
    return f"{name} is set by -e" if name in variables.extra.values else ""


def _spot(
    error: ArgumentError, role: LoadedRole, values: Mapping[str, Value], scope: Scope
) -> Spot:
    """The position of the value; of the role's entry if it is a default, or from no file."""
    name = str(error.path[0])
    value = values.get(name)
    if isinstance(value, (YamlMap, YamlList)) and len(error.path) > 1:
        return spot_of(value, *error.path[1:])
    spot = scope.spot(name)
    is_default = spot is not None and spot.file.path.startswith(f"{role.folder}/")
    return role.spot if spot is None or is_default else spot
