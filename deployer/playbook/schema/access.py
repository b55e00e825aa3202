"""Who may use a route: passwords, and how often."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from deployer.model import Value
from deployer.playbook.schema.models import Before, Check, Strict, field
from deployer.playbook.schema.values import InvalidValue
from deployer.sites.model import Rate

_USER = re.compile(r"[A-Za-z0-9._@-]{1,100}")
_HASH = re.compile(r"\$(5|6|2[aby]|y|apr1)\$[A-Za-z0-9./$=,]{10,300}")
_HOW = "write a hash of it: openssl passwd -6"


def _users(value: Value) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping) or not value:
        raise InvalidValue("(not shown)", "a mapping of users", "write {NAME: HASH}")
    for name, hashed in value.items():
        if not isinstance(name, str) or not _USER.fullmatch(name):
            raise InvalidValue(name, "the name of a user", "it has letters, digits and . _ @ -")
        if not isinstance(hashed, str) or not _HASH.fullmatch(hashed):
            raise InvalidValue("(not shown)", f"the hash of {name}'s password", _HOW)
    return tuple(value.items())


class BasicAuthModel(Strict):
    """Names and passwords that browsers ask for."""

    users: Annotated[
        tuple[tuple[str, str], ...],
        Check(_users, type="object", additionalProperties={"type": "string"}),
    ] = field(description="Names with hashes of their passwords, from secret variables.")


def _rate(value: Value) -> Rate:
    found = re.fullmatch(r"([1-9][0-9]{0,5})/(s|m)", value) if isinstance(value, str) else None
    if found is None:
        raise InvalidValue(value, "a rate", "write 10/s, or 30/m for a minute")
    return Rate(count=int(found[1]), seconds=1 if found[2] == "s" else 60)


_Rate = Annotated[Rate, Check(_rate, type="string", examples=["10/s", "30/m"])]


class RateLimitModel(Strict):
    """How often one address may send requests; more are answered with 429."""

    requests: _Rate | None = field(None, description="Requests of all kinds: 20/s.")
    handshakes: _Rate | None = field(None, description="WebSocket handshakes: 30/m.")


def _as_requests(value: Value) -> Value:
    return {"requests": value} if isinstance(value, str) else value


RateLimit = Annotated[RateLimitModel, Before(_as_requests)]
