"""The present state of resources, as attributes and a fingerprint."""

from __future__ import annotations

import os
import stat

from deployer.agent import settings
from deployer.agent.accounts import user_id
from deployer.agent.encoding import canonical, sha256, to_b64
from deployer.agent.errors import Refusal, StepError, check_name, os_words
from deployer.agent.files import check_path, chunks_of, look_at, names_in
from deployer.agent.kinds import ADDED_KINDS, PATH_KINDS, PROBED_KINDS, added_kind
from deployer.agent.observe import path_attributes, service_attributes, user_attributes
from deployer.agent.packages import installed_packages, owner_of
from deployer.agent.reach import has_links_of_others, refusal
from deployer.agent.settings import SHOWN_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from deployer.agent.children import Children
    from deployer.agent.settings import Json


#: A folder with more entries than these is not removed for being empty.
_MOST_ENTRIES = 5000


class Probe:
    """Observes resources; a tool is asked once for all of them."""

    def __init__(self, children: Children) -> None:
        self._children = children
        self._has_links: dict[str, bool] = {}

    def observe(self, resources: list[Json]) -> list[Json]:
        """One observation for each resource, in order."""
        for resource in resources:
            if resource.get("kind") not in (*PROBED_KINDS, *ADDED_KINDS):
                raise Refusal("bad-request", "unknown kind {!r}".format(resource.get("kind")))
            if resource["kind"] in ("file", "directory", "link", "releases"):
                check_path(resource["name"])
            elif resource["kind"] == "loaded":
                check_name(resource["name"])
                for path in resource["query"]["files"]:
                    check_path(path)
        named = {kind: [r["name"] for r in resources if r["kind"] == kind] for kind in PROBED_KINDS}
        packages = installed_packages(named["package"]) if named["package"] else {}
        asked = named["service"] + (named["loaded"] if os.path.isdir(settings.SYSTEMD_RUNS) else [])
        units = self._units(list(dict.fromkeys(asked))) if asked else {}
        return [self._observe(resource, packages, units) for resource in resources]

    def _units(self, names: list[str]) -> dict[str, Json]:
        from deployer.agent.services import Systemd

        return Systemd(self._children).show(names)

    def _observe(self, resource: Json, packages: dict[str, str], units: dict[str, Json]) -> Json:
        kind, name, query = resource["kind"], resource["name"], resource.get("query") or {}
        observation: Json = {"id": resource["id"]}
        attributes: Json | None = None
        try:
            if kind == "package":
                attributes = {"version": packages[name]} if name in packages else None
            elif kind in PATH_KINDS:
                attributes = path_attributes(name)
                observation.update(_content(name, attributes, query))
                if query.get("entries") and attributes and attributes["type"] == "directory":
                    observation["entries"] = sorted(os.listdir(name))[:_MOST_ENTRIES]
                    owner = owner_of(name) if query.get("unowned") else ""
                    observation.update({"problem": f"{owner} installs it"} if owner else {})
                observation.update(self._unsafe(kind, name, attributes, query))
            elif kind in ADDED_KINDS:
                attributes = added_kind(kind).observe(name)
            else:
                attributes = self._attributes(kind, name, query, units.get(name))
        except StepError as error:
            observation["problem"] = error.message
        except OSError as error:
            observation["problem"] = f"{name} cannot be read: {os_words(error)}"
        observation["attributes"] = attributes
        observation["fingerprint"] = sha256(canonical(attributes)).hexdigest()
        return observation

    def _unsafe(self, kind: str, path: str, attributes: Json | None, query: Json) -> Json:
        """Why a change of `path` would be refused because of a link on the way to it."""
        folder = os.path.dirname(path)
        if folder not in self._has_links:
            self._has_links[folder] = has_links_of_others(path)
        if not self._has_links[folder]:
            return {}
        owner = query.get("owner") or (attributes or {}).get("owner")
        try:
            uid = user_id(owner) if owner and kind != "link" else os.geteuid()
        except StepError:
            return {}  # the commit creates the user: the apply looks again
        why = refusal(path, uid)
        return {"unsafe": why} if why else {}

    def _attributes(self, kind: str, name: str, query: Json, unit: Json | None) -> Json | None:
        if kind == "service":
            return service_attributes(unit)
        if kind == "user":
            return user_attributes(name)
        if kind == "command":
            return {"done": self._is_done(query)}
        if kind == "releases":
            return {"found": releases_in(name)}
        from deployer.agent.loaded import loaded_attributes

        return loaded_attributes(unit, name, query["files"])

    def _is_done(self, query: Json) -> bool:
        """Whether the guards of a command say that there is nothing to do, as in Ansible."""
        chdir = query.get("chdir") or "/"
        if query.get("creates") and all(map(_matches(chdir), as_list(query["creates"]))):
            return True
        if query.get("removes") and not any(map(_matches(chdir), as_list(query["removes"]))):
            return True
        if query.get("unless"):
            return self._children.run(list(query["unless"]), chdir=query.get("chdir"))[0] == 0
        return False


def as_list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _matches(chdir: str) -> Callable[[str], bool]:
    def anything_at(pattern: str) -> bool:
        path = os.path.join(chdir, pattern)
        if os.path.lexists(path):
            return True
        if not any(sign in pattern for sign in "*?["):
            return False
        import glob

        return bool(glob.glob(path))

    return anything_at


def releases_in(top: str) -> list[Json]:
    """The folders in `top`, newest first, each with its attributes and their fingerprint."""
    found = []
    for name in names_in(top):
        info = look_at(os.path.join(top, name))
        if info is not None and stat.S_ISDIR(info.st_mode):
            found.append((info.st_mtime_ns, name))
    listed = []
    for _, name in sorted(found, reverse=True):
        attributes = path_attributes(os.path.join(top, name))
        print_of = sha256(canonical(attributes)).hexdigest()
        listed.append({"name": name, "attributes": attributes, "fingerprint": print_of})
    return listed


def _content(path: str, attributes: Json | None, query: Json) -> Json:
    """The content that a query asks for: of `path`, or of the path that it replaces."""
    about: Json = {}
    if attributes is None and query.get("former"):
        path, attributes = query["former"], _former_attributes(query["former"])
        about["like_former"] = (attributes or {}).get("sha256") == query["sha256"]
    content = _wanted_content(path, attributes, query)
    return about if content is None else {**about, "content_b64": to_b64(content)}


def _former_attributes(path: str) -> Json | None:
    """The attributes of the path that is replaced; `None` if it is missing."""
    try:
        return path_attributes(check_path(path))
    except (StepError, OSError):
        return None


def _wanted_content(path: str, attributes: Json | None, query: Json) -> bytes | None:
    if not query.get("want_content") or not attributes or attributes["type"] != "file":
        return None
    if attributes["size"] > SHOWN_BYTES or attributes["sha256"] == query.get("sha256"):
        return None
    return b"".join(chunks_of(path))
