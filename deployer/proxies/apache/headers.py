"""What Apache's RequestHeader lines do to what a client has sent."""

from __future__ import annotations

import re

from deployer.proxies.apache.config import Directive

#: Where the condition stands, if there is one: after the action, the name, and its values.
_VALUES = {"unset": 0, "edit": 2, "edit*": 2, "note": 1}


def is_conditional(rule: Directive) -> bool:
    """Whether the line holds for some requests alone: ``env=…`` or ``expr=…`` at its end."""
    values = _VALUES.get(rule.words[0].lower(), 1)
    return any(word.startswith(("env=", "expr=")) for word in rule.words[2 + values :])


def edited(rule: Directive, value: str) -> str:
    """What becomes of a header's value; empty where it is taken away."""
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
