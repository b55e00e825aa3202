"""The keys of ``auth_request:``, a service that the proxy asks about each request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from deployer.model import Value
from deployer.playbook.schema import values
from deployer.playbook.schema.models import Before, Check, Misplaced, Strict, field
from deployer.playbook.schema.values import InvalidValue
from deployer.sites.model import Upstream

_PATH = re.compile(r"(/[A-Za-z0-9._~!&()*+,=:@/?-]*)?")
_SIGN_IN = re.compile(r"(https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?)?/[A-Za-z0-9._~!&()*+,=:@/?%-]*")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,100}")
#: Headers that are no statement about a user.
_REFUSED = ("host", "connection", "upgrade", "content-length", "transfer-encoding", "cookie")


def _url(value: Value) -> tuple[Upstream, str]:
    what = "the URL of an authentication service"
    found = re.fullmatch(r"(https?://[^/?#]+)(.*)", value) if isinstance(value, str) else None
    if found is None:
        raise InvalidValue(value, what, "write http://HOST:PORT/PATH")
    if not _PATH.fullmatch(found[2]):
        raise InvalidValue(value, what, "its path has a character that is not allowed there")
    return values.upstream(found[1]), found[2]


def _sign_in(value: Value) -> str:
    if not isinstance(value, str) or not _SIGN_IN.fullmatch(value):
        why = "write a URL, or a path of the site; one that ends with = is followed by the page's"
        raise InvalidValue(value, "the address of a login page", why)
    return value


def _headers(value: Value) -> tuple[str, ...]:
    given = value if isinstance(value, list) else [value]
    for each in given:
        if not isinstance(each, str) or not _HEADER.fullmatch(each):
            raise InvalidValue(each, "the name of a header", "it has letters, digits and '-'")
        lower = each.lower()
        if lower in _REFUSED or lower.startswith(("x-forwarded-", "sec-websocket-")):
            raise InvalidValue(each, "a header about the user", "the proxy or the client sets it")
    return tuple({each.lower(): each for each in given}.values())


class AuthRequestModel(Strict):
    """A service that the proxy asks whether a request may pass."""

    preset: Literal["authelia", "authentik", "oauth2-proxy"] | None = field(
        None, description="A known service, which the other keys need not describe."
    )
    url: (
        Annotated[
            tuple[Upstream, str],
            Check(_url, type="string", examples=["http://127.0.0.1:9091/api/authz/auth-request"]),
        ]
        | None
    ) = field(None, description="Where it is asked; default: the preset's, on the host itself.")
    headers: (
        Annotated[
            tuple[str, ...],
            Check(
                _headers,
                anyOf=[{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            ),
        ]
        | None
    ) = field(
        None, description="Headers of its answer for the route's service; a client's are removed."
    )
    sign_in: Annotated[str, Check(_sign_in, type="string", examples=["/oauth2/sign_in?rd="])] | (
        None
    ) = field(
        None, description="Where pages that it refuses are redirected to; default: its Location."
    )

    @classmethod
    def combination_errors(cls, node: Mapping[str, object]) -> Iterator[Misplaced]:
        if "url" not in node and "preset" not in node and not set(node) - set(cls.fields()):
            hint = "url: http://127.0.0.1:PORT/PATH, or preset: authelia"
            yield Misplaced(None, "missing key 'url'", hint)


def _as_preset(value: Value) -> Value:
    return {"preset": value} if isinstance(value, str) else value


AuthRequest = Annotated[bool | AuthRequestModel | None, Before(_as_preset)]
