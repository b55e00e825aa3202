"""The effect of RequestHeader lines on a client's headers."""

from __future__ import annotations

import re

from deployer.proxies.apache.tree import Directive

#: Words between the name and the condition, by action.
_VALUES = {"unset": 0, "edit": 2, "edit*": 2, "note": 1}


def is_conditional(rule: Directive) -> bool:
    """Whether the line applies to some requests only: ``env=…`` or ``expr=…`` at its end."""
    values = _VALUES.get(rule.words[0].lower(), 1)
    return any(word.startswith(("env=", "expr=")) for word in rule.words[2 + values :])


def edited(rule: Directive, value: str) -> str:
    """The resulting value of a header; empty if it is removed."""
    action, rest = rule.words[0].lower(), rule.words[2:]
    if action == "unset":
        return ""
    if action in ("set", "setifempty") and rest:
        return rest[0] if action == "set" else value
    if action in ("edit", "edit*") and len(rest) > 1:
        try:
            replacement = re.sub(r"\$(\d)", r"\\g<\1>", rest[1])
            return re.sub(rest[0], replacement, value, count=1 if action == "edit" else 0)
        except (re.error, IndexError):
            return value
    return value
