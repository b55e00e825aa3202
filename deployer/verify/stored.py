"""What a host keeps with a generation to verify a rollback to it: roots, sites and checks. Pure.

Nothing secret is stored in the clear. A secret in a check (a token in its path, a password that it
sends) is replaced by a salted hash: a rollback looks for the secret with that hash among those that
the project has now, and leaves the check out if there is none.
"""

from __future__ import annotations

import hashlib
import secrets as randomness
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict

from deployer.sites.document import sites_from_json, sites_to_json
from deployer.sites.model import Check, Site
from deployer.verify.net.redact import secret_values

_TEXTS = ("path", "origin", "send", "expect")
_SALT_BYTES = 16
#: Slow enough to make guessing expensive, fast enough for the secrets of a project: 10 ms each.
_COST = {"n": 1 << 12, "r": 8, "p": 1, "dklen": 32}


class Hidden(TypedDict):
    """One text of a check: its parts in order, and for each secret the index of its hash."""

    site: str
    check: int
    field: str
    parts: list[str | int]


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
        checks: Any = document["verify"]
        for number, check in enumerate(checks):
            for field in [*_TEXTS, *map(_subprotocol, range(len(check["subprotocols"])))]:
                parts = _parts(_get(check, field), secrets, found)
                if parts is not None:
                    hidden.append(Hidden(site=site.domain, check=number, field=field, parts=parts))
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
    by_hash = {_hash(text, salt): text for text in known} if verification["hidden"] else {}
    texts = [by_hash.get(each) for each in verification["hashes"]]
    missing: set[tuple[str, int]] = set()
    written = [_unshared(document) for document in documents]
    by_domain = {document["domain"]: document for document in written}
    for item in verification["hidden"]:
        if item["site"] not in by_domain:
            continue
        parts = [texts[part] if isinstance(part, int) else part for part in item["parts"]]
        if None in parts:
            missing.add((item["site"], item["check"]))
        else:
            check = by_domain[item["site"]]["verify"][item["check"]]
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
    return found


def _unshared(document: Mapping[str, Any]) -> dict[str, Any]:
    """A copy whose checks can be changed."""
    checks = [
        {**check, "subprotocols": list(check["subprotocols"])} for check in document["verify"]
    ]
    return {**document, "verify": checks}


def _without(site: Site, missing: Collection[tuple[str, int]]) -> Site:
    kept: list[Check] = [
        check for number, check in enumerate(site.verify) if (site.domain, number) not in missing
    ]
    return site if len(kept) == len(site.verify) else replace(site, verify=tuple(kept))


def _left_out(missing: Iterable[tuple[str, int]]) -> Iterator[str]:
    for domain, number in sorted(missing):
        yield (
            f"check {number + 1} in `verify` of {domain} is left out: the host does not store its "
            "secret, and this project no longer has it"
        )


def _parts(text: str | None, secrets: Collection[str], found: list[str]) -> list[str | int] | None:
    """`text` around its secrets, which are added to `found`; `None` if it has none."""
    if not text:
        return None
    parts: list[str | int] = [text]
    values = {each for each in (*secrets, *secret_values(text)) if each and each in text}
    for value in sorted(values, key=len, reverse=True):
        parts = list(_split(parts, value, found))
    return None if parts == [text] else parts


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


def _subprotocol(number: int) -> str:
    return f"subprotocols.{number}"


def _get(check: Mapping[str, Any], field: str) -> str | None:
    name, _, number = field.partition(".")
    value: str | None = check[name][int(number)] if number else check[name]
    return value


def _set(check: dict[str, Any], field: str, text: str) -> None:
    name, _, number = field.partition(".")
    if number:
        listed = list(check[name])
        listed[int(number)] = text
        check[name] = listed
    else:
        check[name] = text
