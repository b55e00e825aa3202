"""What deployer has created on this host, since which generation, and which playbooks name it.

Theory of operation
===================

Each generation has the whole inventory in ``managed.json``. It is computed when a commit begins,
from the inventory of the newest generation, the commit's changes, and what its playbook names. The
commit carries it along, so confirming the commit confirms it as well.

``entries``   one for each resource that a commit created and that still exists: ``id``, ``since``
              (the generation), ``by`` (the playbooks that name it), ``site``, ``task``, ``notify``,
              ``deep`` for a folder that was created with all its contents, ``secret`` if the
              content must not be shown, and ``implicit`` for a folder that no playbook names: it
              was missing above something that was created
``sites``     how each site is reached: names, proxy, TLS, and the paths of its WebSockets
``handlers``  the handlers in ``notify``, so that a removal can run them
``drained``   the upstreams that get no new connections, by site; missing if there are none

What a playbook no longer names stays in the inventory until it is removed. Generations of earlier
versions have no inventory: it is derived from their changes, without the playbooks.
"""

from __future__ import annotations

import os

from deployer.agent.commit.manifest import folders_above
from deployer.agent.encoding import canonical_json
from deployer.agent.files import names_in, read_json, sync_folder, write_synced
from deployer.agent.kinds import thing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from deployer.agent.commit.state_folder import StateFolder
    from deployer.agent.settings import Json

MANAGED = "managed.json"
_EMPTY: Json = {"entries": [], "sites": {}, "handlers": {}}
#: The keys of an entry that the playbook decides.
_NAMED_KEYS = ("site", "task", "notify", "deep", "secret")


def managed_now(state: StateFolder) -> Json | None:
    """The inventory of the newest generation; `None` if nothing was applied here yet."""
    last = state.last_generation()
    return managed_of(state, last) if last else None


def managed_after(state: StateFolder, commit: Json, plan: Json) -> Json:
    """The inventory once `plan` is confirmed."""
    last = state.last_generation()
    to = commit.get("rolls_back_to")
    if to is not None and (int(to) == 0 or _path_of(state, int(to)) is not None):
        return managed_of(state, int(to))
    inventory = managed_of(state, last)
    record = commit.get("managed") or {}
    entries = _changed(inventory["entries"], plan["changes"], record, generation=last + 1)
    entries += _implicit(plan["changes"], entries, generation=last + 1)
    return _with_record({**inventory, "entries": entries}, record)


def _implicit(
    changes: Iterable[Json], entries: Iterable[Json], *, generation: int
) -> Iterator[Json]:
    """Folders that are missing now, before the changes, and that none of these creates itself."""
    known = {thing(entry["id"]) for entry in entries}
    for change in changes:
        name = thing(change["resource_id"])
        if change["action"] != "create" or not name.startswith("/"):
            continue
        for folder in folders_above(name):
            if folder not in known and not os.path.lexists(folder):
                known.add(folder)
                yield {
                    "id": f"directory:{folder}",
                    "since": generation,
                    "by": [],
                    "implicit": True,
                }


def claim(state: StateFolder, record: Json) -> None:
    """Note which resources a playbook names, if its apply had nothing to change."""
    last = state.last_generation()
    if not last:
        return
    path = os.path.join(state.generations, str(last), MANAGED)
    inventory = managed_after(state, {"managed": record}, {"changes": []})
    write_synced(path + ".new", canonical_json(inventory))
    os.rename(path + ".new", path)
    sync_folder(os.path.dirname(path))


def _path_of(state: StateFolder, number: int) -> str | None:
    path = os.path.join(state.generations, str(number), MANAGED)
    return path if os.path.exists(path) else None


def managed_of(state: StateFolder, number: int) -> Json:
    """The inventory of a generation, or the one derived from the changes up to it."""
    missing: list[int] = []
    inventory: Json = _EMPTY
    for each in sorted(_numbers(state, number), reverse=True):
        path = _path_of(state, each)
        found = read_json(path) if path else None
        if found is not None:
            inventory = found
            break
        missing.insert(0, each)
    for each in missing:
        inventory = _of_former_version(state, each, inventory)
    return inventory


def _numbers(state: StateFolder, up_to: int) -> Iterator[int]:
    for name in names_in(state.generations):
        if name.isdigit() and int(name) <= up_to:
            yield int(name)


def _of_former_version(state: StateFolder, number: int, inventory: Json) -> Json:
    """`inventory` with the changes of a generation that has none itself."""
    folder = os.path.join(state.generations, str(number))
    plan = read_json(os.path.join(folder, "plan.json")) or {"changes": [], "handlers": []}
    meta = read_json(os.path.join(folder, "meta.json")) or {}
    sites = {site["domain"]: site for site in meta.get("sites", [])}
    handlers = {run["handler"]["name"]: run["handler"] for run in plan["handlers"]}
    named = [
        {
            "id": change["resource_id"],
            "site": _site_of(change["resource_id"], sites),
            "secret": bool(change.get("secret")),
            "notify": [
                run["handler"]["name"]
                for run in plan["handlers"]
                if change["resource_id"] in run["because"]
            ],
        }
        for change in plan["changes"]
        if change["action"] == "create"
    ]
    record = {
        "named": named,
        "handlers": handlers,
        "sites": {domain: _reached(site) for domain, site in sites.items()},
    }
    entries = _changed(inventory["entries"], plan["changes"], record, generation=number)
    return _with_record({**inventory, "entries": entries}, record)


def _site_of(resource_id: str, sites: Json) -> str:
    """The site whose domain is in the name of a path: earlier versions did not record it."""
    name = resource_id.partition(":")[2]
    if not name.startswith("/"):
        return name if resource_id.startswith("certificate:") and name in sites else ""
    parts = name.split("/")
    for domain in sites:
        if domain in parts or any(part.startswith(domain + ".") for part in parts[-1:]):
            return str(domain)
    return ""


def _reached(site: Json) -> Json:
    return {
        "names": [site["domain"], *site.get("aliases", [])],
        "proxy": site.get("proxy", ""),
        "tls": site.get("tls", {}).get("issuer", "none") != "none",
        **({"port": site["port"]} if site.get("port") else {}),
        **({"proxy_protocol": True} if site.get("proxy_protocol") else {}),
        "paths": [route["path"] for route in site.get("routes", []) if route.get("websocket")],
    }


def _changed(
    entries: Iterable[Json], changes: Iterable[Json], record: Json, *, generation: int
) -> list[Json]:
    """`entries` without what was deleted, and with what was created."""
    found = {thing(entry["id"]): entry for entry in entries}
    deep = [thing(each["id"]) + "/" for each in record.get("named", []) if each.get("deep")]
    for change in changes:
        name = thing(change["resource_id"])
        if change["action"] == "delete" or _turns_off(change):
            for gone in [each for each in found if each == name or each.startswith(name + "/")]:
                del found[gone]
        elif _is_new(change) and not name.startswith(tuple(deep)):
            entry = {"id": change["resource_id"], "since": generation, "by": []}
            found.setdefault(name, entry)
    return list(found.values())


def _is_new(change: Json) -> bool:
    """Whether a change creates something, or starts or enables a service that was off."""
    if change["action"] == "create":
        return True
    before, after = change.get("before") or {}, change.get("after") or {}
    return change["resource_id"].startswith("service:") and any(
        after.get(key) and not before.get(key) for key in ("enabled", "active")
    )


def _turns_off(change: Json) -> bool:
    after = change.get("after")
    if not change["resource_id"].startswith("service:") or change["action"] == "no-op":
        return False
    return after is not None and not after.get("enabled") and not after.get("active")


def _with_record(inventory: Json, record: Json) -> Json:
    """`inventory` with what a playbook names, and without what only it named and is gone."""
    mine, former = record.get("project"), set(record.get("same", []))
    named = {thing(each["id"]): each for each in record.get("named", [])}
    gone = {thing(each) for each in record.get("gone", [])}
    entries = []
    for entry in inventory["entries"]:
        name = thing(entry["id"])
        if name in gone and name not in named:
            continue
        by = [each for each in entry["by"] if each not in former and each != mine]
        if entry.get("implicit") and name not in named:
            is_mine = not entry["by"] or len(by) < len(entry["by"])
            entry = {**entry, "by": [*by, mine] if mine and is_mine else entry["by"]}
        elif name in named:
            about = {key: named[name][key] for key in _NAMED_KEYS if named[name].get(key)}
            kept = {key: entry[key] for key in ("id", "since")}
            entry = {**kept, **about, "by": [*by, mine] if mine else entry["by"]}
        elif by and mine and record.get("complete"):
            entry = {**entry, "by": by}  # others still name it
        entries.append(entry)
    sites = {**inventory["sites"], **record.get("sites", {})}
    handlers = {**inventory["handlers"], **record.get("handlers", {})}
    notified = {name for entry in entries for name in entry.get("notify", [])}
    served = {entry.get("site") for entry in entries}
    drained = {**inventory.get("drained", {}), **record.get("drained", {})}
    drained = {domain: each for domain, each in drained.items() if each and domain in served}
    return {
        **({"drained": drained} if drained else {}),
        "entries": entries,
        "sites": {domain: site for domain, site in sites.items() if domain in served},
        "handlers": {name: handlers[name] for name in handlers if name in notified},
    }
