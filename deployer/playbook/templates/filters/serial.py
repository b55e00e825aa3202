"""JSON, YAML, base64, hashes."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from deployer.errors import UsageError
from deployer.model import Value
from deployer.playbook.templates import limits
from deployer.playbook.templates.kinds import as_text, plain, required_text

_JSON_OPTIONS = frozenset({"indent", "sort_keys", "ensure_ascii", "separators", "allow_nan"})
_YAML_OPTIONS = {"indent", "width", "sort_keys", "default_style", "allow_unicode"} | {
    "explicit_start",
    "explicit_end",
}


def to_json(value: object, **options: Value) -> str:
    if options.get("separators") is not None:
        options["separators"] = tuple(options["separators"])
    if set(options) - _JSON_OPTIONS:
        raise ValueError(f"to_json supports {', '.join(sorted(_JSON_OPTIONS))}")
    limits.check_size(value)
    return json.dumps(plain(value), **options)


def to_nice_json(value: object, indent: int = 4, sort_keys: bool = True, **options: Value) -> str:
    options.pop("separators", None)
    return to_json(value, indent=indent, sort_keys=sort_keys, separators=(",", ": "), **options)


def from_json(value: object) -> Value:
    return json.loads(required_text(value))


def to_yaml(value: object, default_flow_style: bool | None = None, **options: Value) -> str:
    import yaml

    if set(options) - _YAML_OPTIONS:
        raise ValueError(f"to_yaml supports {', '.join(sorted(_YAML_OPTIONS))}")
    options.setdefault("allow_unicode", True)
    limits.check_size(value)
    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(
        yaml.dump(plain(value), Dumper=dumper, default_flow_style=default_flow_style, **options)
    )


def to_nice_yaml(
    value: object, indent: int = 4, default_flow_style: bool | None = False, **options: Value
) -> str:
    return to_yaml(value, default_flow_style=default_flow_style, indent=indent, **options)


def from_yaml(value: object) -> Value:
    return next(_documents(value, "from_yaml"), None) if isinstance(value, str) else value


def from_yaml_all(value: object) -> Value:
    if isinstance(value, str):
        return list(_documents(value, "from_yaml_all"))
    return [] if value is None else value


def _documents(value: str, name: str) -> Iterator[Value]:
    from deployer.playbook.yaml.file import parse_documents

    try:
        for each in parse_documents(value, name=name, only_one=name == "from_yaml"):
            yield plain(each)
    except UsageError as error:
        problem = str(error).splitlines()[0].removeprefix(f"{name}:")
        raise ValueError(f"line {problem}") from None


def _checked(encoding: str) -> str:
    limits.check_encoding(encoding)
    return encoding


def b64encode(value: object, encoding: str = "utf-8", urlsafe: bool = False) -> str:
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    return encode(as_text(value).encode(_checked(encoding))).decode("ascii")


def b64decode(value: Value, encoding: str = "utf-8", urlsafe: bool = False) -> str:
    decode = base64.urlsafe_b64decode if urlsafe else base64.b64decode
    return decode(as_text(value)).decode(_checked(encoding))


def hash_of(value: object, algorithm: str = "sha1") -> str:
    import hashlib

    if algorithm not in hashlib.algorithms_guaranteed or algorithm.startswith("shake"):
        names = sorted(each for each in hashlib.algorithms_guaranteed if "shake" not in each)
        raise ValueError(f"hash supports {', '.join(names)}, not {algorithm}")
    return hashlib.new(algorithm, as_text(value).encode(), usedforsecurity=False).hexdigest()


def to_uuid(value: object, namespace: str = "361E6D51-FAEC-444A-9079-341386DA8E2E") -> str:
    import uuid

    return str(uuid.uuid5(uuid.UUID(namespace), as_text(value)))


FILTERS = {
    "b64decode": b64decode,
    "b64encode": b64encode,
    "checksum": lambda value: hash_of(value, "sha1"),
    "from_json": from_json,
    "from_yaml": from_yaml,
    "from_yaml_all": from_yaml_all,
    "hash": hash_of,
    "md5": lambda value: hash_of(value, "md5"),
    "sha1": lambda value: hash_of(value, "sha1"),
    "to_json": to_json,
    "to_nice_json": to_nice_json,
    "to_nice_yaml": to_nice_yaml,
    "to_uuid": to_uuid,
    "to_yaml": to_yaml,
}
