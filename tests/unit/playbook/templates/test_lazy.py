"""Entries of variables are rendered when they are used, and a secret is noticed each time."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from deployer.errors import SourceError
from deployer.playbook.templates.scope import Layer, Scope
from deployer.playbook.templates.templar import Templar
from deployer.playbook.yaml.file import parse_yaml
from deployer.playbook.yaml.source import SourceFile, YamlMap, spot_of
from deployer.playbook.yaml.vault import SecretText

VARIABLES = """\
conf: {a: 1, b: "{{ nope }}", own: "{{ conf.a }}", list: ["{{ conf.a }}", "{{ nope }}"]}
alias: "{{ conf }}"
circle: {x: "{{ circle.y }}", y: "{{ circle.x }}"}
nested: {a: {x: "{{ nested.a }}"}}
plain: {a: [1, {b: text}]}
whole: {y: "{{ whole }}"}
a: ["{{ a0 }}"]
"""
VARIABLES += "".join(f"a{n}: ['{{{{ a{n + 1} }}}}', '{{{{ a{n + 1} }}}}']\n" for n in range(40))
VARIABLES += "a40: [1]\n"


def scope_of(text: str = VARIABLES) -> Scope:
    variables, _ = parse_yaml(text, name="v.yml")
    return Scope((Layer(variables),), templar=Templar())


def value(scope: Scope, text: str) -> Any:
    spot = SourceFile("t.yml", (text,)).spot((1, 1))
    return scope._templar.render(text, scope, spot)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ conf.a }}", 1),
        ("{{ conf.own }}", 1),
        ("{{ whole.y.y.y is mapping }}", True),
        ("{{ a[0] | length }}", 2),
        ("{{ alias.own }}", 1),
        ("{{ conf.list[0] }}", 1),
        ("{{ conf.list | length }}", 2),
        ("{{ conf.b | default('d') }}", "d"),
        ("{{ conf.list | map('default', 'd') | list }}", [1, "d"]),
        ("{% set _ = conf.list.pop() %}{{ conf.list }}", [1]),
        ("{% set _ = conf.pop('b') %}{{ conf.keys() | list }}", ["a", "own", "list"]),
    ],
)
def test_only_what_is_used_is_rendered(text: str, expected: object) -> None:
    scope = scope_of()
    assert value(scope, text) == expected
    assert value(scope, text) == expected, "nothing was changed by the first"


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("{{ conf }}", "v.yml:1:17", "'nope' is undefined"),
        ("{{ alias | to_json }}", "v.yml:1:17", "'nope' is undefined"),
        ("{{ conf.list | join(',') }}", "v.yml:1:75", "'nope' is undefined"),
        (
            "{{ circle.x }}",
            "v.yml:3:13",
            "'circle.x' depends on itself: circle.x → circle.y → circ",
        ),
        ("{{ circle }}", "v.yml:3:", "depends on itself"),
        ("{{ nested.a }}", "v.yml:4:", "depends on itself"),
        ("{{ whole | to_json }}", "t.yml:1:1", "the expression is too deep"),
        ("{{ whole }}", "v.yml:6:", "'whole' depends on itself: whole → whole"),
        ("{{ a | flatten }}", "t.yml:1:1", "a list would have more than 200,000 values"),
        ("{{ [1] + plain }}", "t.yml:1:1", 'can only concatenate list (not "dict") to list'),
    ],
)
def test_what_is_used_is_an_error_at_its_place(text: str, place: str, problem: str) -> None:
    with pytest.raises(SourceError) as caught:
        value(scope_of(), text)
    assert str(caught.value.source).startswith(place)
    assert problem in caught.value.problem


def test_a_rendered_mapping_keeps_its_positions() -> None:
    found = value(scope_of("m: {a: 1,\n b: ['{{ m.a }}']}"), "{{ m }}")
    assert isinstance(found, YamlMap)
    assert found == {"a": 1, "b": [1]}
    assert spot_of(found, "b", 0).line == 2


def test_each_use_of_a_secret_entry_is_noticed() -> None:
    scope = scope_of("m: {open: '{{ 1 }}', hidden: x, derived: '{{ m.hidden }}'}")
    scope._layers[0].values["m"]["hidden"] = SecretText("geheim")
    for _ in range(2):
        for text, expected in (("open", False), ("hidden", True), ("derived", True)):
            scope.state.touched_secret = False
            value(scope, f"{{{{ m.{text} }}}}")
            assert scope.state.touched_secret is expected
    scope.state.touched_secret = False
    assert yaml.safe_load(value(scope, "{{ m | to_json }}"))["hidden"] == "geheim"
    assert scope.state.touched_secret


def test_omit_in_place_of_a_value() -> None:
    with pytest.raises(SourceError, match="a value is required here"):
        value(scope_of(), "{{ omit }}")
    templar, scope = Templar(), scope_of("m: {a: 1, b: '{{ omit }}'}")
    assert templar.render("{{ m }}", scope, SourceFile("t.yml", ("",)).spot((1, 1))) == {"a": 1}
