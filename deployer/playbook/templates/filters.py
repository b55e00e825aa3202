"""The filters and tests of Ansible that Jinja2 does not have.

Source: "Using filters to manipulate data" and "Tests" in Ansible's playbook guide.
"""

from __future__ import annotations

import base64
import json
import posixpath
import re
import shlex
from collections.abc import Callable, Iterable, Mapping

from jinja2 import Undefined
from jinja2.exceptions import TemplateRuntimeError, UndefinedError

from deployer.model import Value

_NO_HASH = "its salt would differ in each plan; keep the hash itself in a secret vars file"
#: Filters of Ansible that are not supported, and why.
REFUSED = {
    "password_hash": _NO_HASH,
    "vault": "keep secrets in a vars_files file with secret: true",
    "unvault": "keep secrets in a vars_files file with secret: true",
    "random": "the same playbook must always give the same plan",
    "shuffle": "the same playbook must always give the same plan",
}


def kind(value: Value) -> str:
    """The type of a value, in YAML terms."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return "nothing" if value is None else "a value"


def plain(value: object) -> Value:
    """`value` with only plain Python types, for serialisers that check exact types."""
    if isinstance(value, Undefined):
        value._fail_with_undefined_error()
    if isinstance(value, Mapping):
        return {plain(key): plain(each) for key, each in value.items()}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, Iterable):
        return [plain(each) for each in value]
    return value


def to_json(value: object, **options: Value) -> str:
    return json.dumps(plain(value), **_json_options(options))


def to_nice_json(value: object, indent: int = 4, sort_keys: bool = True, **options: Value) -> str:
    more: dict[str, Value] = {"indent": indent, "sort_keys": sort_keys, "separators": (",", ": ")}
    return json.dumps(plain(value), **(more | _json_options(options)))


def _json_options(options: dict[str, object]) -> dict[str, Value]:
    known = {"indent", "sort_keys", "ensure_ascii", "separators"}
    if set(options) - known:
        raise ValueError(f"to_json supports {', '.join(sorted(known))}")
    return options


def to_yaml(value: object, default_flow_style: bool | None = None, **options: Value) -> str:
    import yaml

    return str(
        yaml.safe_dump(
            plain(value), allow_unicode=True, default_flow_style=default_flow_style, **options
        )
    )


def to_nice_yaml(value: object, indent: int = 4, **options: Value) -> str:
    return to_yaml(value, default_flow_style=False, indent=indent, **options)


def from_json(value: object) -> Value:
    return json.loads(_text(value))


def from_yaml(value: object) -> Value:
    import yaml

    return yaml.safe_load(_text(value))


def from_yaml_all(value: object) -> Value:
    import yaml

    return list(yaml.safe_load_all(_text(value)))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"must be a string, not {kind(value)}")
    return value


def b64encode(value: object, encoding: str = "utf-8") -> str:
    return base64.b64encode(str(value).encode(encoding)).decode("ascii")


def b64decode(value: Value, encoding: str = "utf-8") -> str:
    return base64.b64decode(str(value)).decode(encoding)


def _flags(ignorecase: bool, multiline: bool) -> int:
    return (re.IGNORECASE if ignorecase else 0) | (re.MULTILINE if multiline else 0)


def regex_replace(
    value: object,
    pattern: str = "",
    replacement: str = "",
    ignorecase: bool = False,
    multiline: bool = False,
    count: int = 0,
) -> str:
    expression = re.compile(pattern, _flags(ignorecase, multiline))
    return expression.sub(replacement, str(value), count=count)


def regex_search(
    value: object, pattern: str, *groups: str, ignorecase: bool = False, multiline: bool = False
) -> Value:
    match = re.search(pattern, str(value), _flags(ignorecase, multiline))
    if match is None:
        return None if groups else ""
    if not groups:
        return match.group()
    found = []
    for group in groups:
        name = group.removeprefix("\\").removeprefix("g<").removesuffix(">")
        found.append(match.group(int(name) if name.isdigit() else name))
    return found


def regex_findall(
    value: object, pattern: str, multiline: bool = False, ignorecase: bool = False
) -> list[Value]:
    return re.findall(pattern, str(value), _flags(ignorecase, multiline))


def regex_escape(value: object) -> str:
    return re.escape(str(value))


def ternary(
    value: object, true_value: object, false_value: object, none_value: object = None
) -> Value:
    if value is None and none_value is not None:
        return none_value
    return true_value if bool(value) else false_value


def to_bool(value: object) -> Value:
    if value is None or isinstance(value, bool):
        return value
    return str(value).strip().lower() in ("yes", "on", "1", "true", "t", "y")


def combine(
    *mappings: object, recursive: bool = False, list_merge: str = "replace"
) -> dict[Value, Value]:
    result: dict[Value, Value] = {}
    for each in mappings:
        for one in each if isinstance(each, list) else [each]:
            if not isinstance(one, Mapping):
                raise TypeError(f"combine requires mappings, not {kind(one)}")
            result = _merged(result, one, recursive, list_merge)
    return result


def _merged(
    low: dict[object, object], high: Mapping[object, object], deep: bool, lists: str
) -> dict[Value, Value]:
    result = dict(low)
    for key, value in high.items():
        old = result.get(key)
        if deep and isinstance(old, Mapping) and isinstance(value, Mapping):
            result[key] = _merged(dict(old), value, deep, lists)
        elif isinstance(old, list) and isinstance(value, list):
            result[key] = _merged_lists(old, value, lists)
        else:
            result[key] = value
    return result


def _merged_lists(old: list[object], new: list[object], how: str) -> list[Value]:
    merges = {
        "replace": lambda: list(new),
        "keep": lambda: list(old),
        "append": lambda: old + new,
        "prepend": lambda: new + old,
        "append_rp": lambda: [each for each in old if each not in new] + new,
        "prepend_rp": lambda: new + [each for each in old if each not in new],
    }
    if how not in merges:
        raise ValueError(f"list_merge must be one of {', '.join(merges)}")
    return merges[how]()


def dict2items(
    value: object, key_name: str = "key", value_name: str = "value"
) -> list[dict[str, Value]]:
    if not isinstance(value, Mapping):
        raise TypeError(f"dict2items requires a mapping, not {kind(value)}")
    return [{key_name: key, value_name: each} for key, each in value.items()]


def items2dict(
    value: Value, key_name: str = "key", value_name: str = "value"
) -> dict[Value, Value]:
    return {each[key_name]: each[value_name] for each in value}


def unique(value: Iterable[object], case_sensitive: bool = True) -> list[Value]:
    found: dict[Value, Value] = {}
    for each in value:
        key = each if case_sensitive or not isinstance(each, str) else each.lower()
        found.setdefault(_key(key), each)
    return list(found.values())


def _key(value: object) -> Value:
    try:
        hash(value)
    except TypeError:
        return json.dumps(plain(value), sort_keys=True, default=str)
    return value


def union(left: Iterable[object], right: Iterable[object]) -> list[Value]:
    return unique([*left, *right])


def intersect(left: Iterable[object], right: Iterable[object]) -> list[Value]:
    others = list(right)
    return unique([each for each in left if each in others])


def difference(left: Iterable[object], right: Iterable[object]) -> list[Value]:
    others = list(right)
    return unique([each for each in left if each not in others])


def symmetric_difference(left: Iterable[object], right: Iterable[object]) -> list[Value]:
    first, second = list(left), list(right)
    return difference(union(first, second), intersect(first, second))


def flatten(value: Iterable[object], levels: int | None = None) -> list[Value]:
    result: list[Value] = []
    for each in value:
        if isinstance(each, (list, tuple)) and (levels is None or levels > 0):
            result += flatten(each, None if levels is None else levels - 1)
        elif each is not None:
            result.append(each)
    return result


def hash_of(value: object, algorithm: str = "sha1") -> str:
    import hashlib

    if algorithm not in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512"):
        raise ValueError(
            f"hash supports md5, sha1, sha224, sha256, sha384 and sha512, not {algorithm}"
        )
    digest = hashlib.new(algorithm, str(value).encode(), usedforsecurity=False)
    return digest.hexdigest()


def checksum(value: object) -> str:
    return hash_of(value, "sha1")


def urlsplit(value: object, query: str = "") -> Value:
    from urllib.parse import urlsplit as split

    parts = split(str(value))
    found = {
        "scheme": parts.scheme,
        "netloc": parts.netloc,
        "hostname": parts.hostname,
        "port": parts.port,
        "path": parts.path,
        "query": parts.query,
        "fragment": parts.fragment,
        "username": parts.username,
        "password": parts.password,
    }
    if not query:
        return found
    if query not in found:
        raise ValueError(f"urlsplit has {', '.join(found)}")
    return found[query]


def mandatory(value: object, message: str = "") -> Value:
    if isinstance(value, Undefined):
        name = getattr(value, "_undefined_name", None)
        raise UndefinedError(message or f"'{name}' is undefined")
    return value


def quote(value: object) -> str:
    return shlex.quote("" if value is None else str(value))


def extract(key: Value, container: Value, more: Value = None) -> Value:
    value = container[key]
    for step in [] if more is None else more if isinstance(more, list) else [more]:
        value = value[step]
    return value


def type_debug(value: object) -> str:
    return type(plain(value)).__name__


def splitext(value: object) -> list[str]:
    return list(posixpath.splitext(str(value)))


def comment(value: object, style: str = "plain", decoration: str = "# ") -> str:
    if style != "plain":
        raise ValueError("comment supports only the style 'plain'")
    return "\n".join(f"{decoration}{line}".rstrip() for line in str(value).split("\n"))


def _version(text: object) -> tuple[tuple[int, int | str], ...]:
    parts = re.findall(r"\d+|[a-z]+", str(text).lower())
    if not parts:
        raise ValueError(f"{text!r} is not a version")
    return tuple((1, int(each)) if each.isdigit() else (0, each) for each in parts)


_COMPARE: dict[str, Callable[[Value, Value], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_SAME = {
    "=": "==",
    "eq": "==",
    "<>": "!=",
    "ne": "!=",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
}


def version(value: object, other: object, operator: str = "==", strict: object = None) -> bool:
    """Compare versions: ``is version('1.25', '>=')``; ``1.25`` equals ``1.25.0``."""
    if strict is not None:
        raise TemplateRuntimeError("version supports only a version and an operator")
    compare = _COMPARE.get(_SAME.get(operator, operator))
    if compare is None:
        raise TemplateRuntimeError(f"version supports {' '.join(_COMPARE)}, not {operator!r}")
    left, right = _version(value), _version(other)
    width = max(len(left), len(right))
    filler = ((1, 0),)
    return compare(left + filler * (width - len(left)), right + filler * (width - len(right)))


def match(value: object, pattern: str, ignorecase: bool = False, multiline: bool = False) -> bool:
    return re.match(pattern, str(value), _flags(ignorecase, multiline)) is not None


def search(value: object, pattern: str, ignorecase: bool = False, multiline: bool = False) -> bool:
    return re.search(pattern, str(value), _flags(ignorecase, multiline)) is not None


def regex(
    value: object,
    pattern: str,
    ignorecase: bool = False,
    multiline: bool = False,
    match_type: str = "search",
) -> bool:
    find = getattr(re.compile(pattern, _flags(ignorecase, multiline)), match_type)
    return find(str(value)) is not None


def contains(value: Value, part: Value) -> bool:
    return part in value


def truthy(value: object, convert_bool: bool = False) -> bool:
    return bool(to_bool(value) if convert_bool else value)


def falsy(value: object, convert_bool: bool = False) -> bool:
    return not truthy(value, convert_bool)


def subset(value: Iterable[Value], other: Value) -> bool:
    return all(each in other for each in value)


def superset(value: object, other: Iterable[object]) -> bool:
    return subset(other, value)


def split(value: object, separator: str | None = None, count: int = -1) -> list[str]:
    return str(value).split(separator, count)


def zipped(value: Iterable[object], *others: Iterable[object]) -> list[tuple[Value, ...]]:
    return list(zip(value, *others, strict=False))


FILTERS: dict[str, Callable[..., Value]] = {
    "b64decode": b64decode,
    "b64encode": b64encode,
    "basename": lambda value: posixpath.basename(str(value)),
    "bool": to_bool,
    "checksum": checksum,
    "combine": combine,
    "comment": comment,
    "dict2items": dict2items,
    "difference": difference,
    "dirname": lambda value: posixpath.dirname(str(value)),
    "extract": extract,
    "flatten": flatten,
    "from_json": from_json,
    "from_yaml": from_yaml,
    "from_yaml_all": from_yaml_all,
    "hash": hash_of,
    "intersect": intersect,
    "items2dict": items2dict,
    "mandatory": mandatory,
    "quote": quote,
    "regex_escape": regex_escape,
    "regex_findall": regex_findall,
    "regex_replace": regex_replace,
    "regex_search": regex_search,
    "sha1": checksum,
    "sha256": lambda value: hash_of(value, "sha256"),
    "split": split,
    "splitext": splitext,
    "symmetric_difference": symmetric_difference,
    "ternary": ternary,
    "to_json": to_json,
    "to_nice_json": to_nice_json,
    "to_nice_yaml": to_nice_yaml,
    "to_yaml": to_yaml,
    "type_debug": type_debug,
    "union": union,
    "unique": unique,
    "urlsplit": urlsplit,
    "zip": zipped,
}
FILTERS |= {f"ansible.builtin.{name}": each for name, each in FILTERS.items()}

TESTS: dict[str, Callable[..., bool]] = {
    "contains": contains,
    "falsy": falsy,
    "match": match,
    "regex": regex,
    "search": search,
    "subset": subset,
    "superset": superset,
    "truthy": truthy,
    "version": version,
    "version_compare": version,
}
TESTS |= {f"ansible.builtin.{name}": each for name, each in TESTS.items()}
