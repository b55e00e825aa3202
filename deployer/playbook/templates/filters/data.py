"""Lists, mappings and sets."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping

from jinja2 import pass_environment
from jinja2.filters import ignore_case, make_attrgetter
from jinja2.filters import sync_do_groupby as jinja_groupby

from deployer.model import Value
from deployer.playbook.templates import limits
from deployer.playbook.templates.kinds import frozen, is_list, kind

_LIST_MERGES: dict[str, Callable[[list[Value], list[Value]], list[Value]]] = {
    "replace": lambda old, new: new,
    "keep": lambda old, new: old,
    "append": lambda old, new: old + new,
    "prepend": lambda old, new: new + old,
    "append_rp": lambda old, new: _without(old, new) + new,
    "prepend_rp": lambda old, new: new + _without(old, new),
}


def combine(*mappings: object, recursive: bool = False, list_merge: str = "replace") -> Value:
    if list_merge not in _LIST_MERGES:
        raise ValueError(f"list_merge must be one of {', '.join(_LIST_MERGES)}")
    given = flatten(mappings, levels=1)
    for each in given:
        if not isinstance(each, Mapping):
            raise TypeError(f"combine requires mappings, not {kind(each)}")
    result: Value = given[0] if given else {}
    for each in given[1:]:
        result = _merged(result, each, recursive, list_merge)
    return result


def _merged(
    low: Mapping[Value, Value], high: Mapping[Value, Value], deep: bool, lists: str
) -> dict[Value, Value]:
    result = dict(low)
    for key, value in high.items():
        limits.step()
        old = result.get(key)
        if deep and isinstance(old, Mapping) and isinstance(value, Mapping):
            result[key] = _merged(old, value, deep, lists)
        elif is_list(old) and is_list(value):
            result[key] = _LIST_MERGES[lists](list(old or ()), list(value))
        else:
            result[key] = value
    return result


def _without(values: list[Value], others: list[Value]) -> list[Value]:
    keys = {frozen(each) for each in others}
    return [each for each in values if frozen(each) not in keys]


def dict2items(
    value: object, key_name: str = "key", value_name: str = "value"
) -> list[dict[str, Value]]:
    if not isinstance(value, Mapping):
        raise TypeError(f"dict2items requires a mapping, not {kind(value)}")
    return [{key_name: key, value_name: each} for key, each in value.items()]


def items2dict(
    value: Value, key_name: str = "key", value_name: str = "value"
) -> dict[Value, Value]:
    if not is_list(value):
        raise TypeError(f"items2dict requires a list, not {kind(value)}")
    found = {}
    for each in value:
        if not isinstance(each, Mapping) or key_name not in each or value_name not in each:
            raise TypeError(f"items2dict requires mappings with '{key_name}' and '{value_name}'")
        found[each[key_name]] = each[value_name]
    return found


@pass_environment
def unique(
    environment: Value,
    value: Iterable[Value],
    case_sensitive: bool | None = None,
    attribute: str | int | None = None,
) -> list[Value]:
    """As in Ansible, case only matters with ``case_sensitive``, or next to a mapping or list."""
    values = list(value)
    is_plain = attribute is None and case_sensitive is None
    if is_plain and any(isinstance(each, (dict, list)) for each in values):
        case_sensitive = True
    getter = make_attrgetter(
        environment, attribute, postprocess=None if case_sensitive else ignore_case
    )
    found: dict[Value, Value] = {}
    for each in values:
        limits.step()
        found.setdefault(frozen(getter(each)), each)
    return list(found.values())


def _distinct(values: Iterable[object]) -> dict[Value, Value]:
    found: dict[Value, Value] = {}
    for each in values:
        found.setdefault(frozen(each), each)
    return found


def union(left: Iterable[object], right: Iterable[object]) -> list[Value]:
    return list(_distinct([*left, *right]).values())


def intersect(left: Iterable[object], right: Iterable[object]) -> list[Value]:
    others = _distinct(right)
    return [each for key, each in _distinct(left).items() if key in others]


def difference(left: Iterable[object], right: Iterable[object]) -> list[Value]:
    others = _distinct(right)
    return [each for key, each in _distinct(left).items() if key not in others]


def symmetric_difference(left: Iterable[object], right: Iterable[object]) -> list[Value]:
    first, second = list(left), list(right)
    return difference(first, second) + difference(second, first)


def subset(value: Iterable[Value], other: Iterable[Value]) -> bool:
    return not set(_distinct(value)) - set(_distinct(other))


def superset(value: Iterable[Value], other: Iterable[Value]) -> bool:
    return subset(other, value)


def flatten(
    value: Iterable[object], levels: int | None = None, skip_nulls: bool = True
) -> list[Value]:
    result: list[Value] = []
    for each in value:
        limits.step()
        if skip_nulls and (each is None or (isinstance(each, str) and each in ("None", "null"))):
            continue
        if is_list(each) and (levels is None or levels >= 1):
            deeper = None if levels is None else int(levels) - 1
            result += flatten(each, deeper, skip_nulls)  # type: ignore[arg-type]
            limits.check_count(len(result))
        else:
            result.append(each)
    return result


@pass_environment
def extract(environment: Value, key: Value, container: Value, more: Value = None) -> Value:
    value = container
    for step in [key, *([] if more is None else more if isinstance(more, list) else [more])]:
        value = environment.getitem(value, step)
    return value


def subelements(value: Value, path: Value, skip_missing: bool = False) -> list[tuple[Value, Value]]:
    if not isinstance(value, (dict, list)):
        raise TypeError(f"subelements requires a list or mapping, not {kind(value)}")
    steps = path.split(".") if isinstance(path, str) else list(path)
    found: list[tuple[Value, Value]] = []
    for element in value.values() if isinstance(value, dict) else value:
        inner: Value = element
        for step in steps:
            if not isinstance(inner, Mapping):
                raise TypeError(f"'{step}' is not in a mapping, but in {kind(inner)}")
            if step not in inner:
                if not skip_missing:
                    raise ValueError(f"an entry has no '{step}'; skip_missing=true leaves it out")
                inner = []
                break
            inner = inner[step]
        if not isinstance(inner, list):
            raise TypeError(f"'{path}' must be a list, not {kind(inner)}")
        found += ((element, each) for each in limits.counted(inner))
    return found


def rekey_on_member(value: Value, key: str, duplicates: str = "error") -> dict[Value, Value]:
    if duplicates not in ("error", "overwrite"):
        raise ValueError("duplicates must be error or overwrite")
    entries = value.values() if isinstance(value, Mapping) else value
    found: dict[Value, Value] = {}
    for each in entries:
        if not isinstance(each, Mapping) or key not in each:
            raise ValueError(f"an entry has no '{key}'")
        if each[key] in found and duplicates == "error":
            raise ValueError(f"two entries have the {key} {each[key]!r}")
        found[each[key]] = each
    return found


@pass_environment
def groupby(
    environment: Value,
    value: Value,
    attribute: Value,
    default: Value = None,
    case_sensitive: bool = False,
) -> list[Value]:
    for each in value:
        # An unsafe attribute would only be found when a group is used.
        found = make_attrgetter(environment, attribute)(each)
        if default is None and hasattr(found, "_undefined_name"):
            found._fail_with_undefined_error()
    return jinja_groupby(environment, value, attribute, default, case_sensitive)


@pass_environment
def total(
    environment: Value, value: Iterable[Value], attribute: Value = None, start: Value = 0
) -> Value:
    """Jinja's ``sum``, with limits on what it adds up to."""
    getter = make_attrgetter(environment, attribute) if attribute is not None else lambda each: each
    for each in value:
        start = environment.call_binop(None, "+", start, getter(each))
    return start


def _chosen(choose: Callable[..., Iterable[Value]]) -> Callable[..., Iterable[Value]]:
    def chosen(values: Iterable[Value], size: int) -> Iterable[Value]:
        limits.check_width(size * 1000)
        return choose(values, size)

    return chosen


def product(*values: Iterable[Value], repeat: int = 1) -> Iterable[Value]:
    limits.check_width(repeat * 10_000)
    return itertools.product(*values, repeat=repeat)


FILTERS: dict[str, Callable[..., Value]] = {
    "combinations": _chosen(itertools.combinations),
    "combine": combine,
    "dict2items": dict2items,
    "difference": difference,
    "extract": extract,
    "flatten": flatten,
    "groupby": groupby,
    "intersect": intersect,
    "items2dict": items2dict,
    "permutations": _chosen(itertools.permutations),
    "product": product,
    "rekey_on_member": rekey_on_member,
    "subelements": subelements,
    "sum": total,
    "symmetric_difference": symmetric_difference,
    "union": union,
    "unique": unique,
    "zip": zip,
    "zip_longest": itertools.zip_longest,
}

TESTS: dict[str, Callable[..., bool]] = {
    "all": all,
    "any": any,
    "contains": lambda value, part: part in value,
    "issubset": subset,
    "issuperset": superset,
    "subset": subset,
    "superset": superset,
}
