"""What a rollback to an earlier generation wants: the state before later generations."""

from __future__ import annotations

import os

from deployer.agent import settings
from deployer.agent.accounts import group_name, user_name
from deployer.agent.commit.images import Images
from deployer.agent.commit.journal import read_journal
from deployer.agent.commit.managed import managed_of
from deployer.agent.commit.manifest import folders_above
from deployer.agent.commit.rollback import VERIFICATION
from deployer.agent.encoding import to_b64
from deployer.agent.errors import Refusal, StepError
from deployer.agent.files import read_json, read_record
from deployer.agent.kinds import PATH_KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from deployer.agent.commit.state_folder import StateFolder
    from deployer.agent.settings import Entry, Json, Manifest


class Undo:
    """The former state of everything that the generations after `to` changed."""

    def __init__(self, state: StateFolder, to: Any) -> None:
        self._state = state
        last = state.last_generation()
        self._to = last - 1 if to is None else int(to)
        if not last:
            raise Refusal(
                "no-generation",
                "there is no generation to roll back to: nothing has been applied here yet",
            )
        first = last
        while first > 1 and os.path.isdir(os.path.join(state.generations, str(first - 1))):
            first -= 1
        oldest = 0 if first == 1 else first  # the state before all, or the oldest kept
        if not oldest <= self._to < last:
            kept = f"{oldest} to {last - 1}" if oldest < last else "only the last"
            if oldest == last - 1:
                kept = f"{oldest} alone"
            raise Refusal(
                "no-generation",
                f"there is no generation {self._to} to roll back to; the host has kept {kept}",
            )
        self._numbers = range(last, self._to, -1)
        self._wanted: dict[str, Json] = {}
        self._handlers: dict[str, Json] = {}
        self._unknown: list[str] = []

    def reply(self) -> Json:
        """The reply: newest generation first, and the changes of each in reverse order."""
        for number in self._numbers:
            self._add(number, os.path.join(self._state.generations, str(number)))
        if self._to and not self._has_sites(self._to):
            self._unknown.append(
                f"generation {self._to} does not say which sites it had, so the rollback cannot be "
                "verified: run deployer verify after it"
            )
        off = {
            item["name"]
            for item in self._wanted.values()
            if item["kind"] == "service" and _is_off(item)
        }
        return {
            "to": self._to,
            "resources": [item for item in self._wanted.values() if self._has_folder(item)],
            "handlers": [run for run in self._handlers.values() if run["unit"] not in off],
            "sites": self._sites(self._to),
            "undone_sites": [site for number in self._numbers for site in self._sites(number)],
            "verification": self._verification(self._to),
            "others": list(self._others()),
            "managed": managed_of(self._state, self._to) if self._to else None,
            "unknown": self._unknown,
        }

    def _sites(self, number: int) -> list[Json]:
        sites: list[Json] = self._meta(number).get("sites", [])
        return sites

    def _has_sites(self, number: int) -> bool:
        return "sites" in self._meta(number)

    def _meta(self, number: int) -> Json:
        path = os.path.join(self._state.generations, str(number), "meta.json")
        return read_json(path) or {}

    def _verification(self, number: int) -> Json | None:
        """How a generation was verified; `None` if it was made before this was stored."""
        folder = os.path.join(self._state.generations, str(number))
        return read_json(os.path.join(folder, VERIFICATION))

    def _others(self) -> Iterator[Json]:
        """The sites of other playbooks at that time, newest generation first."""
        if not self._has_sites(self._to):
            return  # those of its own playbook cannot be distinguished
        known = {site["domain"] for site in self._sites(self._to)}
        for number in range(self._to - 1, 0, -1):
            sites = [site for site in self._sites(number) if site["domain"] not in known]
            known |= {site["domain"] for site in sites}
            if sites:
                yield {"sites": sites, "verification": self._verification(number)}

    def _add(self, number: int, folder: str) -> None:
        try:
            journal = read_journal(folder)
            before = read_record(folder, "before.json", journal[0].get("before"))
            plan = read_record(folder, "plan.json", journal[0].get("plan"))
            applied = [event for event in journal if event["event"] == "applied"]
            after = read_record(folder, "after.json", applied[-1].get("after"))
        except (StepError, IndexError) as error:
            raise Refusal("no-generation", f"generation {number} cannot be read: {error}") from None
        images = Images(settings.IMAGES, before["images"])
        begun = {event.get("resource_id") for event in journal if event["event"] == "intent"}
        for change in reversed(plan["changes"]):
            if change["resource_id"] not in begun:
                continue
            for item in self._former(change, before["manifest"], images):
                key = item["name"] if item["kind"] in PATH_KINDS else change["resource_id"]
                self._wanted.pop(key, None)  # the older one decides, about the order too
                self._wanted[key] = {**item, "generation": number}
        for name in _brought(before["packages"], after["packages"]):
            item = {"kind": "package", "name": name, "attributes": None, "generation": number}
            self._wanted.setdefault("package:" + name, item)
        for run in plan["handlers"]:
            handler = run["handler"]
            self._handlers.setdefault(handler["name"], handler)

    def _has_folder(self, item: Json) -> bool:
        """Whether the folders above a path existed: without one there was nothing in it, whatever
        a newer generation found there."""
        if item["kind"] not in PATH_KINDS or item["attributes"] is None:
            return True
        for folder in folders_above(item["name"]):
            above = self._wanted.get(folder)
            if above and above["kind"] != "directory" and above["generation"] < item["generation"]:
                return False
        return True

    def _former(self, change: Json, manifest: Manifest, images: Images) -> Iterator[Json]:
        kind, _, name = change["resource_id"].partition(":")
        was = change["before"]
        if kind == "command":
            self._unknown.append(f"the effects of command {name} are not reverted")
        elif kind in PATH_KINDS:
            yield from self._former_paths(name, was, manifest, images, change["secret"])
        elif kind == "service" and was is None:
            off = {"enabled": False, "active": False}
            yield {"kind": kind, "name": name, "attributes": off, "gone": True}
        elif kind == "package":
            yield {"kind": kind, "name": name, "attributes": None if was is None else {}}
        elif "paths" in change:  # a new certificate is removed; a renewed one stays
            for path in change["paths"] if was is None else []:
                if path not in manifest:
                    yield {"kind": "file", "name": path, "attributes": None}
        else:
            if kind == "user" and was is not None and change["action"] == "delete":
                self._unknown.append(f"user {name}: its own group may get a different ID")
            yield {"kind": kind, "name": name, "attributes": was}

    def _former_paths(
        self, top: str, was: Json | None, manifest: Manifest, images: Images, secret: bool
    ) -> Iterator[Json]:
        """One path, or a removed folder with everything in it."""
        if was is None:
            yield {"kind": "file", "name": top, "attributes": None}
            return
        below = top + "/"
        for path in sorted(path for path in manifest if path == top or path.startswith(below)):
            item = former_path(path, manifest[path], images)
            if item is not None:
                yield {**item, "secret": secret}


def _brought(before: Json | None, after: Json | None) -> list[str]:
    """The packages that a commit installed, including dependencies."""
    if before is None or after is None:
        return []
    there = {name for name, (state, _) in before.items() if state == "installed"}
    return sorted(
        name for name, (state, _) in after.items() if state == "installed" and name not in there
    )


def former_path(path: str, entry: Entry, images: Images) -> Json | None:
    """A path of a manifest as a resource; without a before-image a file keeps its content."""
    kind = entry["t"]
    if kind == "link":
        return {"kind": kind, "name": path, "attributes": {"type": kind, "target": entry["to"]}}
    if kind not in ("file", "directory"):
        return None
    attributes = {
        "type": kind,
        "mode": f"{entry['m']:04o}",
        "owner": user_name(entry["u"]),
        "group": group_name(entry["g"]),
    }
    item: Json = {"kind": kind, "name": path, "attributes": attributes}
    if images.has(entry.get("h")):
        item["content_b64"] = to_b64(images.read(entry["h"]))
        attributes.update(sha256=entry["h"], size=entry["s"])
    return item


def _is_off(service: Json) -> bool:
    """Whether a service did not run: a reload would start it, and its program may be gone.

    What a removed package leaves in /etc/init.d is still a unit.
    """
    attributes = service["attributes"]
    return bool(service.get("gone")) or (attributes is not None and not attributes["active"])
