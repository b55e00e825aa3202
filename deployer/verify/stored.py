"""What a host keeps with a generation to verify a rollback to it: roots, sites and checks. Pure.

Nothing secret is stored in the clear. A secret in a check (a token in its path, a password that it
sends, a header's value) is replaced by a salted hash: a rollback looks for the secret with that
hash among those that the project has now. If there is none, it leaves the check out, and does not
probe the route.
"""

from __future__ import annotations

import hashlib
import secrets as randomness
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NotRequired, TypedDict

from deployer.sites.document import sites_from_json, sites_to_json
from deployer.sites.model import Check, Route, Site
from deployer.sites.secret_headers import is_secret_header, words_of
from deployer.verify.net.redact import secret_values
from deployer.verify.planned.routing import entry_of

_TEXTS = ("path", "origin", "send", "expect")
_SALT_BYTES = 16
#: Slow enough to make guessing expensive, fast enough for the secrets of a project: 10 ms each.
_COST = {"n": 1 << 12, "r": 8, "p": 1, "dklen": 32}


class Hidden(TypedDict):
    """One text of a check: its parts in order, and for each secret the index of its hash.

    `check` is the check's place in `verify`, or that of its route if it is the `probe` of one.
    """

    site: str
    check: int
    field: str
    parts: list[str | int]
    is_probe: NotRequired[bool]


#: A check of a site: whether it is the probe of a route, and its place.
_Place = tuple[bool, int]


class Verification(TypedDict):
    """How a generation was verified. `roots` has the PEM of the roots of each site's certificate,
    or `None` for the system's trust store of the controller."""

    roots: dict[str, str | None]
    salt: str
    hashes: list[str]
    hidden: list[Hidden]


def stored(
    sites: Sequence[Site], roots: Mapping[str, bytes | None], secrets: Collection[str]
) -> tuple[list[dict[str, object]], Verification]:
    """The sites as a host stores them, and the rest of what their verification needs."""
    salt = randomness.token_bytes(_SALT_BYTES)
    found: list[str] = []
    hidden: list[Hidden] = []
    documents = sites_to_json(sites)
    for site, document in zip(sites, documents, strict=True):
        for (is_probe, number), check in _checks_of(document):
            for field in _fields(check):
                parts = _parts(check, field, secrets, found)
                if parts is not None:
                    item = Hidden(site=site.domain, check=number, field=field, parts=parts)
                    if is_probe:
                        item["is_probe"] = True
                    hidden.append(item)
                    _set(check, field, "")
    verification = Verification(
        roots={
            site.domain: None if (pem := roots.get(site.domain)) is None else pem.decode("ascii")
            for site in sites
            if site.has_tls
        },
        salt=salt.hex(),
        hashes=[_hash(text, salt) for text in found],
        hidden=hidden,
    )
    return documents, verification


def restored(
    documents: Iterable[Mapping[str, Any]], verification: Verification, known: Collection[str]
) -> tuple[tuple[Site, ...], dict[str, bytes | None], tuple[str, ...]]:
    """The sites, their roots, and a text for each check that is left out.

    Args:
        known: the secrets of the project, and those in its checks (`secrets_in`).
    """
    salt = bytes.fromhex(verification["salt"])
    # Headers have one line: the words of a key or a certificate are none of theirs.
    lines = (text for text in known if "\n" not in text.strip())
    words = {*known, *(word for text in lines for word in words_of(text)[::2])} - {""}
    by_hash = {_hash(text, salt): text for text in words} if verification["hidden"] else {}
    texts = [by_hash.get(each) for each in verification["hashes"]]
    missing: set[tuple[str, _Place]] = set()
    written = [_unshared(document) for document in documents]
    by_domain = {document["domain"]: document for document in written}
    for item in verification["hidden"]:
        if item["site"] not in by_domain:
            continue
        parts = [texts[part] if isinstance(part, int) else part for part in item["parts"]]
        if None in parts:
            missing.add((item["site"], (item.get("is_probe", False), item["check"])))
        else:
            place = (item.get("is_probe", False), item["check"])
            check = dict(_checks_of(by_domain[item["site"]]))[place]
            _set(check, item["field"], "".join(part for part in parts if part is not None))
    sites = tuple(_without(site, missing) for site in sites_from_json(written))
    roots = {
        domain: None if pem is None else pem.encode("ascii")
        for domain, pem in verification["roots"].items()
    }
    return sites, roots, tuple(_left_out(missing))


def secrets_in(checks: Iterable[Mapping[str, Any]]) -> set[str]:
    """The values in the texts of checks that look like credentials."""
    found: set[str] = set()
    for check in checks:
        listed = check.get("subprotocols")
        more = listed if isinstance(listed, list | tuple) else ()
        for text in (*(check.get(field) for field in _TEXTS), *more):
            if isinstance(text, str):
                found.update(secret_values(text))
        headers = check.get("headers")
        if isinstance(headers, Mapping):
            found.update(str(value).strip() for value in headers.values())
    return found


def _checks_of(document: Mapping[str, Any]) -> Iterator[tuple[_Place, dict[str, Any]]]:
    for number, check in enumerate(document["verify"]):
        yield (False, number), check
    for number, route in enumerate(document["routes"]):
        if route.get("probe"):
            yield (True, number), route["probe"]


def _fields(check: Mapping[str, Any]) -> Iterator[str]:
    yield from _TEXTS
    for name in ("subprotocols", "headers"):
        yield from (f"{name}.{number}" for number in range(len(check.get(name, ()))))


def _unshared(document: Mapping[str, Any]) -> dict[str, Any]:
    """A copy whose checks can be changed."""

    def copied(check: Mapping[str, Any]) -> dict[str, Any]:
        headers = [list(header) for header in check.get("headers", ())]
        return {**check, "subprotocols": list(check["subprotocols"]), "headers": headers}

    routes = [
        {**route, "probe": copied(route["probe"])} if route.get("probe") else route
        for route in document["routes"]
    ]
    return {**document, "verify": [*map(copied, document["verify"])], "routes": routes}


def _without(site: Site, missing: Collection[tuple[str, _Place]]) -> Site:
    left_out = {place for domain, place in missing if domain == site.domain}
    if not left_out:
        return site
    kept: list[Check] = [
        check for number, check in enumerate(site.verify) if (False, number) not in left_out
    ]
    gone = [check for number, check in enumerate(site.verify) if (False, number) in left_out]
    routes: list[Route] = []
    for number, route in enumerate(site.routes):
        replacing = entry_of(site, route)
        is_left_out = (True, number) in left_out or any(replacing is check for check in gone)
        routes.append(replace(route, probe=None, is_probed=False) if is_left_out else route)
    return replace(site, verify=tuple(kept), routes=tuple(routes))


def _left_out(missing: Iterable[tuple[str, _Place]]) -> Iterator[str]:
    for domain, (is_probe, number) in sorted(missing):
        which = (
            f"the probe of route {number + 1}" if is_probe else f"check {number + 1} in `verify`"
        )
        yield (
            f"{which} of {domain} is left out: the host does not store its secret, and this "
            "project no longer has it"
        )


def _parts(
    check: Mapping[str, Any], field: str, secrets: Collection[str], found: list[str]
) -> list[str | int] | None:
    """A text around its secrets, which are added to `found`; `None` if it has none."""
    text = _get(check, field)
    if not text:
        return None
    name, _, number = field.partition(".")
    if name == "headers" and is_secret_header(check[name][int(number)][0]):
        return _words(text, found)
    parts: list[str | int] = [text]
    values = {each for each in (*secrets, *secret_values(text)) if each and each in text}
    for value in sorted(values, key=len, reverse=True):
        parts = list(_split(parts, value, found))
    return None if parts == [text] else parts


def _words(text: str, found: list[str]) -> list[str | int]:
    """A header's value around its words, all of which are secret."""
    parts: list[str | int] = []
    for number, word in enumerate(words_of(text)):
        parts += [word] if number % 2 or not word else _split([word], word, found)
    return parts


def _split(parts: Iterable[str | int], value: str, found: list[str]) -> Iterator[str | int]:
    for part in parts:
        if isinstance(part, int) or value not in part:
            yield part
            continue
        if value not in found:
            found.append(value)
        for number, each in enumerate(part.split(value)):
            if number:
                yield found.index(value)
            if each:
                yield each


def _hash(text: str, salt: bytes) -> str:
    return hashlib.scrypt(text.encode("utf-8", "surrogatepass"), salt=salt, **_COST).hex()


def _get(check: Mapping[str, Any], field: str) -> str | None:
    name, _, number = field.partition(".")
    value = check[name][int(number)] if number else check[name]
    text: str | None = value[1] if name == "headers" else value
    return text


def _set(check: dict[str, Any], field: str, text: str) -> None:
    name, _, number = field.partition(".")
    if not number:
        check[name] = text
        return
    listed = list(check[name])
    listed[int(number)] = (listed[int(number)][0], text) if name == "headers" else text
    check[name] = listed
