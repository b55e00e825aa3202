"""Plans: whether one is valid, and how a resource differs from its desired state."""

from __future__ import annotations

import binascii

from deployer.agent.accounts import group_id, user_id
from deployer.agent.commit.manifest import is_below
from deployer.agent.encoding import canonical, sha256
from deployer.agent.errors import Refusal, StepError, check_name
from deployer.agent.files import check_path
from deployer.agent.kinds import ADDED_KINDS, KINDS, PATH_KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from deployer.agent.settings import Json

_ACTIONS = ("create", "update", "delete", "no-op")
_ONLY_AT_CREATION = ("system", "create_home", "append")
#: What is checked elsewhere: the ports of a service, when its commit is confirmed.
_NOT_OBSERVED = ("listens",)
#: How a certificate is ordered; and one that is due may stay in use for a while.
_OF_ORDERS = ("staging_first", "forced", "strict", "due")


def check_plan(plan: Json) -> None:
    """Raises:
    Refusal: the plan is invalid."""
    if plan.get("format_version") != 1:
        raise Refusal(
            "bad-request", "unsupported plan format {!r}".format(plan.get("format_version"))
        )
    digest = plan.get("digest")
    unsealed = {key: value for key, value in plan.items() if key != "digest"}
    if digest and sha256(canonical(unsealed)).hexdigest() != digest:
        raise Refusal("bad-request", "the plan does not match its digest")
    for change in plan["changes"]:
        _check_change(change)
    for run in plan["handlers"]:
        if run["handler"].get("unit"):
            check_name(run["handler"]["unit"])


def _check_change(change: Json) -> None:
    kind, _, name = change["resource_id"].partition(":")
    if kind not in KINDS or change["action"] not in _ACTIONS:
        raise Refusal("bad-request", "cannot {} {}".format(change["action"], change["resource_id"]))
    if kind in PATH_KINDS:
        check_path(name)
    elif kind not in ("command", *ADDED_KINDS):
        check_name(name)
    content = change.get("after_content_b64")
    if content is not None:
        wanted = (change["after"] or {}).get("sha256")
        if sha256(binascii.a2b_base64(content)).hexdigest() != wanted:
            raise Refusal("bad-request", f"the content of {name} does not match its hash")


def probe_request(change: Json) -> Json:
    """The probe request for the resource of a change."""
    kind, _, name = change["resource_id"].partition(":")
    query: Json = {}
    if kind == "command":
        after = change["after"] or {}
        query = {key: after.get(key) for key in ("creates", "removes", "unless", "chdir")}
    return {"id": change["resource_id"], "kind": kind, "name": name, "query": query}


def covers(touched: dict[str, bool], path: str) -> Iterator[bool]:
    for top, deep in touched.items():
        yield path == top or (deep and is_below(path, top))


def difference_of(wanted: Json | None, found: Json | None) -> str:
    """The first difference between `found` and `wanted`, in words; empty if there is none."""
    if wanted is None:
        return "" if found is None or found.get("done") or _is_off(found) else "it still exists"
    if found is None:
        return "" if _is_off(wanted) else "it does not exist"
    if "done" in wanted:
        return "" if found.get("done") else "it has run, but its guard says that it is still to do"
    for key, value in wanted.items():
        ignored = (*_ONLY_AT_CREATION, *_NOT_OBSERVED, *_OF_ORDERS)
        if key not in ignored and not _alike(key, value, found.get(key)):
            return f"{key} is {found.get(key)!r} instead of {value!r}"
    return ""


def _is_off(found: Json) -> bool:
    return found.get("enabled") is False and found.get("active") is False


def _alike(key: str, wanted: Any, found: Any) -> bool:
    if wanted == found:
        return True
    try:
        if key == "owner":
            return user_id(str(wanted)) == user_id(str(found))
        if key == "group":
            return group_id(str(wanted)) == group_id(str(found))
    except StepError:
        return False
    return False


def units_of(changes: list[Json], handlers: list[Json]) -> list[str]:
    """The units of changes and handlers, each once, in order."""
    names = [
        change["resource_id"].partition(":")[2]
        for change in changes
        if change["resource_id"].startswith("service:")
    ]
    names += [run["handler"]["unit"] for run in handlers if run["handler"].get("unit")]
    return list(dict.fromkeys(names))
