"""No value can exhaust the controller: each ends soon, with one message and its position."""

from __future__ import annotations

import time

import pytest

from deployer.errors import SourceError
from deployer.playbook.templates import limits, patterns
from deployer.playbook.templates.scope import Layer, Scope
from deployer.playbook.templates.templar import Templar
from deployer.playbook.yaml.file import parse_yaml
from tests.unit.playbook.templates.conftest import Renderer

ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"

_ALIASES = "".join(
    f"{b}: &{b} [*{a},*{a},*{a},*{a},*{a},*{a},*{a},*{a}]\n"
    for a, b in ("ab", "bc", "cd", "de", "ef", "fg")
)
ALIASES = "{{ 'a: &a [x,x,x,x,x,x,x]\n" + _ALIASES + "' | from_yaml }}"
DOUBLED = (
    "{% set ns = namespace(x=[1]) %}"
    "{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"
)

HOSTILE = [
    "{{ 'a' * 10**9 }}",
    "{{ 10**9 * 'a' }}",
    "{{ [1] * 10**9 }}",
    "{{ 'x' | center(10**9) }}",
    "{{ 'x'.center(10**9) }}",
    "{{ 'x'.ljust(10**9) }}",
    "{{ 'x'.zfill(10**9) }}",
    "{{ ('\t' * 10000).expandtabs(100000) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%*d' % (10**9, 1) }}",
    "{{ '%1000000000d' | format(1) }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{{ '{:>{w}}'.format(1, w=10**9) }}",
    "{{ '{x:>1000000000}'.format_map({'x': 1}) }}",
    "{{ range(10**9) | list }}",
    "{{ range(10**5) | list | product(range(10**5)) }}",
    "{{ [1] | product(repeat=10**9) }}",
    "{{ [1, 2] | permutations(10**9) }}",
    "{{ range(1000) | combinations(9) | list }}",
    "{{ [1] | batch(10**9, 'x') | list }}",
    "{{ [1] | slice(10**9) | list }}",
    "{{ 1.5 | round(10**9, 'ceil') }}",
    "{{ 'a\nb' | indent(10**9) }}",
    "{{ 9 ** (9 ** 9) }}",
    "{{ 2 ** (64 ** 9) }}",
    "{{ 9 ** 5000 }}",
    "{{ (10 ** 3900) * (10 ** 3900) }}",
    "{{ [1] | to_json(indent=10**9) }}",
    "{{ 'x' | comment(prefix_count=10**9) }}",
    "{{ 'x' | comment(decoration='y' * 10**7) }}",
    "{{ ('a' * 10**6) | replace('a', 'b' * 10**6) }}",
    "{{ ('a' * 10**6).replace('a', 'b' * 10**6) }}",
    "{{ ('a' * 10**6) | regex_replace('a', 'b' * 10**6) }}",
    "{{ ('a' * 10**4) | regex_replace('(?=(a*))', '\\1') }}",
    "{{ ('a' * 10**5) | regex_findall('(?=(a*))') | length }}",
    "{{ ('a' * 10**6) | join('b' * 10**6) }}",
    "{{ ('b' * 10**6).join(['a'] * 10**5) }}",
    "{{ ('a' * 10**6).translate({97: 'b' * 10**6}) }}",
    "{{ ('é' * 10**6).encode('punycode') }}",
    "{{ ('a' * 10**6).encode('idna') }}",
    "{{ ('<!--' * 10**5) | striptags }}",
    ENDLESS,
    "{% macro m(n) %}{{ m(n - 1) ~ m(n - 1) if n }}{% endmacro %}{{ m(40) }}",
    "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(1) }}",
    "{% for x in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
    DOUBLED.replace("[1]", "'ab'").replace("[ns.x, ns.x]", "ns.x ~ ns.x"),
    DOUBLED.replace("[1]", "'ab'").replace("[ns.x, ns.x]", "ns.x + ns.x"),
    DOUBLED + "{{ ns.x }}",
    DOUBLED + "{{ ns.x | to_json }}",
    DOUBLED + "{{ ns.x | tojson }}",
    DOUBLED + "a{{ ns.x }}",
    DOUBLED + "{{ ns.x | flatten }}",
    DOUBLED + "{{ ns.x | string }}",
    DOUBLED + "{{ ns.x ~ '' }}",
    DOUBLED + "{{ '%s' % ns.x }}",
    DOUBLED + "{{ '{}'.format(ns.x) }}",
    DOUBLED + "{{ ns.x | unique }}",
    DOUBLED + "{{ ns.x | pprint }}",
    DOUBLED + "{% set y = ns.x | to_json %}",
    DOUBLED.replace("ns", "ms") + DOUBLED + "{{ ns.x == ms.x }}",
    DOUBLED.replace("ns", "ms") + DOUBLED + "{{ ns.x in [ms.x] }}",
    DOUBLED.replace("ns", "ms") + DOUBLED + "{{ ns.x is eq(ms.x) }}",
    DOUBLED.replace("ns", "ms") + DOUBLED + "{{ [ns.x, ms.x] | sort }}",
    DOUBLED.replace("ns", "ms") + DOUBLED + "{{ ns.x is in([ms.x]) }}",
    DOUBLED + "{{ ns.x | upper }}",
    DOUBLED + "{{ ns.x | hash }}",
    DOUBLED + "{{ [ns.x] | join }}",
    "{% set x = [] %}{% set _ = x.append(x) %}{{ x }}",
    "{% set x = [] %}{% for i in range(99999) %}" + "{{ x.append(i) }}" * 3 + "{% endfor %}{{ x }}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ " + "[" * 900 + "]" * 900 + " }}",
    "{{ 1" + " + 1" * 20000 + " }}",
    "{{ x }}" * 60000,
    "{{ ('[' * 100000) | from_json }}",
    "{{ ('[' * 10000) | from_yaml }}",
    ALIASES,
    "{{ ('9' * 5000) | int + ('9' * 100000) | from_json }}",
    "{{ '2016' | to_datetime('%d' * 1000) }}",
    "{{ ['a' * 10**6] * 1000 }}",
    "{{ x['__class__'] }}{{ ''.__class__ }}",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_expressions_end_with_one_message(
    text: str, rendered: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "EXPRESSION_S", 0.4)
    monkeypatch.setattr(patterns, "_TIMEOUT_S", 0.2)
    began = time.thread_time()
    with pytest.raises(SourceError) as caught:
        rendered(text)
    assert time.thread_time() - began < 5
    assert str(caught.value).startswith("f.yml:1:1: ")
    assert len(caught.value.problem) < 500


PATTERNS = [
    ("a" * 40, "(a+)+$b"),
    ("a" * 40 + "!", "^(([a-z])+.)+[A-Z]([a-z])+$"),
    ("a" * 60 + "b", "^(a|aa)+$"),
    ("a" * 60 + "b", "^(a|a)*$"),
    ("a" * 60 + "b", "^(a?){60}a{60}$"),
    ("a" * 5_000_000, "a*a*a*a*a*b"),
    ("x" * 5_000_000, ".*y"),
    ("x" * 5_000_000, "(.)*(.)*(.)*$y"),
    ("ab" * 50_000, "((ab)*)*c"),
    ("a" * 50_000, r"(a*)\\1b"),
]


@pytest.mark.parametrize(("text", "pattern"), PATTERNS)
def test_regular_expressions_end(
    text: str, pattern: str, rendered: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a result or a message."""
    monkeypatch.setattr(patterns, "_TIMEOUT_S", 0.1)
    began = time.thread_time()
    problems = set()
    for expression in (
        f"{{{{ text | regex_search('{pattern}') }}}}",
        f"{{{{ text is match('{pattern}') }}}}",
        f"{{{{ text | regex_replace('{pattern}', 'x') }}}}",
        f"{{{{ text | regex_findall('{pattern}') }}}}",
    ):
        try:
            rendered(expression, {"text": text})
        except SourceError as error:
            problems.add(error.problem.partition(" takes ")[2][:6])
    assert problems <= {"longer"}
    assert time.thread_time() - began < 8


def test_variables_that_double_forty_times() -> None:
    lines = ["a0: [xxxxxxxxxx]", "t0: xxxxxxxxxx"]
    for number in range(40):
        lines.append(f'a{number + 1}: ["{{{{ a{number} }}}}", "{{{{ a{number} }}}}"]')
        lines.append(f't{number + 1}: "{{{{ t{number} }}}}{{{{ t{number} }}}}"')
    variables, _ = parse_yaml("\n".join(lines), name="vars.yml")
    scope = Scope((Layer(variables),), templar=Templar())
    for name in ("a40", "t40"):
        with pytest.raises(SourceError) as caught:
            scope.get(name)
        assert caught.value.source is not None
        assert caught.value.source.file == "vars.yml"
        assert caught.value.source.line > 20, "the first variable that is too large is named"


def test_all_expressions_of_a_host_share_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HOST_S", 0.2)
    variables, file = parse_yaml("x: 1", name="vars.yml")
    templar = Templar()
    scope = Scope((Layer(variables),), templar=templar)
    spot = file.spot((1, 1))
    templar.render("{% for i in range(9) %}{{ i }}{% endfor %}", scope, spot)
    text = "{% for i in range(9999) %}{{ i }}{% endfor %}"
    with pytest.raises(SourceError, match="computing time"):
        all(templar.render(text, scope, spot) for _ in range(100_000))


def test_all_texts_of_a_host_share_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HOST_TEXT", 1000)
    templar = Templar()
    variables, file = parse_yaml("x: 1", name="vars.yml")
    scope = Scope((Layer(variables),), templar=templar)
    spot = file.spot((1, 1))
    with pytest.raises(SourceError, match="together are too long"):
        all(templar.render("{{ 'x' * 100 }}", scope, spot) for _ in range(100))


def test_large_but_reasonable_values_are_rendered(rendered: Renderer) -> None:
    many = [{"name": f"user{number}", "id": number} for number in range(20_000)]
    names = rendered("{{ many | map(attribute='name') | unique | join(',') }}", {"many": many})
    assert names.count(",") == 19_999
    text = rendered(
        "{% for each in many %}{{ each.name }}={{ each.id }}\n{% endfor %}", {"many": many}
    )
    assert text.count("\n") == 20_000
    assert len(rendered("{{ 'x' * 5000000 }}")) == 5_000_000
    assert rendered("{{ 2 ** 100 }}") == 2**100


def test_templates_change_only_copies_of_their_variables(rendered: Renderer) -> None:
    variables = {"numbers": [1], "deep": {"l": [1]}}
    text = "{% set _ = numbers.append(2) %}{% set _ = deep.l.append(2) %}{{ numbers + deep.l }}"
    assert rendered(text, variables) == [1, 2, 1, 2]
    assert variables == {"numbers": [1], "deep": {"l": [1]}}
    for other in ("{{ numbers['append'](2) }}", "{{ (numbers | attr('append'))(2) }}"):
        with pytest.raises(SourceError):
            rendered(other, variables)
    for other in ("{{ numbers | indent }}", "{{ [2] | sum(start=numbers) }}"):
        with pytest.raises(SourceError):
            rendered(other, variables)
    assert variables == {"numbers": [1], "deep": {"l": [1]}}
