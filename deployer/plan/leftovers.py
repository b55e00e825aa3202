"""What earlier generations created on a host and the playbook no longer names. Pure.

Something is left over if a playbook created it, names it no longer, and no other playbook names it.
It stays until ``--prune`` or ``state: absent`` removes it (`deployer.plan.removal`). A task that is
skipped still names what it has created, and a run with tags decides on nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from deployer.agent.kinds import thing
from deployer.model import Document, Handler, Observation, Resource
from deployer.plan.projects import ProjectId, project_words
from deployer.plan.prune import Prune
from deployer.proxies import BY_UNIT
from deployer.sites.paths import example_of
from deployer.sites.values import CERTIFICATES_FOLDER

if TYPE_CHECKING:
    from deployer.agent.replies import Managed, ManagedEntry, ReachedSite
    from deployer.plan.desired import DesiredState
    from deployer.sites.model import Site

_LISTED = 12


class Leftovers:
    """What is left over on one host, and what of it the playbook or `prune` wants removed.

    Args:
        is_gone: whether the playbook at a path no longer exists on this machine.
    """

    def __init__(
        self,
        managed: Managed | None,
        desired: DesiredState,
        project: ProjectId,
        prune: Prune,
        *,
        is_gone: Callable[[str], bool],
    ) -> None:
        self.managed: Managed = managed or {"entries": [], "sites": {}, "handlers": {}}
        self._desired = desired
        self._project = project
        self._named = {thing(resource.id): resource for resource in desired.resources}
        self._above = set(_folders_above(self._named))
        self._releases = tuple(_folders_of_releases(desired.resources))
        self._absent_releases = tuple(_folders_of_releases(desired.unwanted))
        self._unwanted = {thing(resource.id) for resource in desired.unwanted}
        sites = {f"site:{site.domain}" for site in desired.sites}
        self._mine = project.all_keys(self.managed, {*self._named, *sites}, is_gone=is_gone)
        entries = self.managed["entries"]
        self._implicit = [entry for entry in entries if entry.get("implicit")]
        unnamed = [each for each in entries if not (each.get("implicit") or self._is_named(each))]
        self.left = [] if desired.is_part else [each for each in unnamed if self._is_left(each)]
        self.removed: list[ManagedEntry] = []
        self.stays: dict[str, str] = {}
        for entry in unnamed:
            is_absent = self._is_absent(entry)
            if not (is_absent or (prune.everything and entry in self.left)):
                continue
            why = self._why_it_stays(entry, prune, is_absent=is_absent)
            if why:
                self.stays[thing(entry["id"])] = why
            else:
                self.removed.append(entry)
        self.removed += self._emptied(prune)

    def _emptied(self, prune: Prune) -> list[ManagedEntry]:
        """The folders that were created above other things, if all of these are removed."""
        going = {entry["id"] for entry in self.removed}
        stay = {
            folder
            for entry in self.managed["entries"]
            if not entry.get("implicit") and entry["id"] not in going
            for folder in (thing(entry["id"]), *_folders_above([thing(entry["id"])]))
        } | self._above
        above = set(_folders_above(thing(name) for name in going))
        return [
            entry
            for entry in self._implicit
            if (name := thing(entry["id"])) not in stay
            and (name in above or (prune.everything and self._is_left(entry)))
        ]

    def _is_named(self, entry: ManagedEntry) -> bool:
        """Whether the playbook names it, or something in it, or manages its folder of releases."""
        name = thing(entry["id"])
        if name in self._named or name.startswith(self._releases):
            return True
        is_folder = entry["id"].startswith("directory:") and not entry.get("deep")
        return is_folder and name in self._above

    def _is_left(self, entry: ManagedEntry) -> bool:
        by = entry["by"]
        is_mine = bool(by) and self._mine.issuperset(by)
        return is_mine and entry.get("task", "") not in self._desired.skipped

    def _is_absent(self, entry: ManagedEntry) -> bool:
        name = thing(entry["id"])
        is_of_site = entry.get("site", "") in self._desired.absent_sites
        return is_of_site or name in self._unwanted or name.startswith(self._absent_releases)

    def _why_it_stays(self, entry: ManagedEntry, prune: Prune, *, is_absent: bool) -> str:
        others = [key for key in entry["by"] if key not in self._mine]
        if others:
            return f"{project_words(others[0])} names it too"
        if is_certificate(entry) and not prune.certificates:
            return "--prune-certificates removes it"
        if _is_package(entry) and not prune.packages:
            return "--prune-packages removes it"
        return ""

    def removed_domains(self) -> frozenset[str]:
        """The sites that are removed: their certificates may stay."""
        served = {site.domain for site in self._desired.sites}
        domains = {each.get("site", "") for each in self.removed if not is_certificate(each)}
        return frozenset(domains & set(self.managed["sites"]) - served)

    def removed_by_tasks(self) -> list[ManagedEntry]:
        """What was created here, and what a task of the playbook itself removes."""
        return [
            entry
            for entry in self.managed["entries"]
            if (resource := self._named.get(thing(entry["id"]))) is not None
            and resource.attributes is None
        ]

    # --- requests and records ---------------------------------------------------------------------

    def probe_requests(self) -> list[dict[str, object]]:
        """The queries of a ``probe`` about what is left over and what should be removed."""
        ids = dict.fromkeys(
            [
                *(entry["id"] for entry in (*self.left, *self.removed)),
                *(resource.id for resource in self._unwanted_and_unknown()),
                *self._loading_units(),
            ]
        )
        removed = {entry["id"]: entry for entry in self.removed}
        return [_probe_request(each, removed.get(each)) for each in ids]

    def _loading_units(self) -> Iterator[str]:
        """The services that handlers of what is removed would reload or restart."""
        for name in {name for entry in self.removed for name in entry.get("notify", ())}:
            handler = self._desired.handlers.get(name)
            recorded = self.managed["handlers"].get(name, {})
            unit = handler.unit if handler else recorded.get("unit", "")
            if unit:
                yield f"service:{unit}"

    def _unwanted_and_unknown(self) -> Iterator[Resource]:
        """What ``state: absent`` names although no generation created it here."""
        known = {thing(entry["id"]) for entry in self.managed["entries"]}
        for resource in self._desired.unwanted:
            if thing(resource.id) not in {*known, *self._named} and _can_be_probed(resource):
                yield resource

    def record(self, observations: Collection[Observation] = ()) -> dict[str, object]:
        """What the playbook names, for the host's inventory (docs/reference/protocol.md)."""
        desired = self._desired
        seen = {each.resource_id: each for each in observations}
        gone = [
            entry["id"]
            for entry in (*self.left, *self.removed)
            if entry["id"] in seen and is_missing(seen[entry["id"]])
        ]
        return {
            "project": self._project.key,
            "same": sorted(self._mine - {self._project.key}),
            "complete": not desired.is_part,
            "named": [
                _named_entry(each, is_deep=self._is_release(each)) for each in self._recorded()
            ],
            "gone": gone,
            "sites": {site.domain: _reached(site) for site in desired.sites},
            **self._drained(),
            "handlers": {
                name: _handler_record(handler) for name, handler in desired.handlers.items()
            },
        }

    def _drained(self) -> dict[str, object]:
        """The drained upstreams, if there are or were any."""
        sites = self._desired.sites
        every = (each for site in sites for route in site.routes for each in route.upstreams)
        if not self.managed.get("drained") and not any(each.drained for each in every):
            return {}
        from deployer.sites.drains import drained_in

        return {"drained": drained_in(sites)}

    def _recorded(self) -> Iterator[Resource]:
        """The named resources: a release is one folder, whatever is in it."""
        for resource in {thing(each.id): each for each in self._desired.resources}.values():
            is_inside = any(
                resource.name.startswith(folder) and "/" in resource.name[len(folder) :]
                for folder in self._releases
            )
            if resource.kind not in ("command", "releases") and not is_inside:
                yield resource

    def _is_release(self, resource: Resource) -> bool:
        return resource.kind == "directory" and any(
            resource.name.startswith(folder) and "/" not in resource.name[len(folder) :]
            for folder in self._releases
        )

    def needs_claim(self, record: Document) -> bool:
        """Whether the host's inventory differs from `record`, apart from what a commit changes."""
        key, named = self._project.key, {thing(each["id"]) for each in record["named"]}
        is_complete = record["complete"]
        for entry in self.managed["entries"]:
            is_named, by = thing(entry["id"]) in named, set(entry["by"])
            others = by - self._mine
            if is_named and by != others | {key}:
                return True
            if is_complete and not is_named and others and by != others:
                return True
        return bool(record["gone"])

    def documents(self, observations: Mapping[str, Observation]) -> tuple[Document, ...]:
        """What is left over on the host, for ``--json``."""
        going = {entry["id"] for entry in self.removed}
        return tuple(
            {
                "resource_id": entry["id"],
                "since": entry["since"],
                "site": entry.get("site"),
                "stays": entry["id"] not in going,
            }
            for entry in self.left
            if not is_missing(observations[entry["id"]])
        )

    # --- words ------------------------------------------------------------------------------------

    def notes(self, observations: Iterable[Observation]) -> Iterator[str]:
        """What is left over and stays, one line each, and what ``state: absent`` cannot remove."""
        seen = {each.resource_id: each for each in observations}
        going = {entry["id"] for entry in self.removed}
        staying = [
            entry
            for entry in self.left
            if entry["id"] not in going and not is_missing(seen[entry["id"]])
        ]
        listed = dict(_grouped(staying, self._desired))
        for words, since in list(listed.items())[:_LISTED]:
            yield f"no longer in the playbook: {words}, since generation {since}"
        if len(listed) > _LISTED:
            yield f"no longer in the playbook: {len(listed) - _LISTED} more"
        if staying:
            yield _hint(staying)
        for name, why in self.stays.items():
            if not any(thing(entry["id"]) == name for entry in staying):
                yield f"{_words(name)} stays: {why}"
        for resource in self._unwanted_and_unknown():
            if not is_missing(seen[resource.id]):
                yield (
                    f"{_words(thing(resource.id))} stays: state: absent removes only what deployer "
                    "created, and no generation here did"
                )


def is_missing(seen: Observation) -> bool:
    """Whether nothing is there to remove: a service that is off counts as nothing."""
    found = seen.attributes
    if seen.resource_id.startswith("service:") and found is not None:
        return not found.get("enabled") and not found.get("active")
    return found is None and not seen.problem


def is_certificate(entry: ManagedEntry) -> bool:
    """Whether something is a certificate, its key, or a folder of them: it may outlive its site."""
    kind, _, name = entry["id"].partition(":")
    return (
        kind == "certificate"
        or name == CERTIFICATES_FOLDER
        or name.startswith(f"{CERTIFICATES_FOLDER}/")
    )


def _is_package(entry: ManagedEntry) -> bool:
    """A package, or the service of a proxy: sites of others may depend on it."""
    kind, _, name = entry["id"].partition(":")
    return kind == "package" or (kind == "service" and name.removesuffix(".service") in BY_UNIT)


def _folders_of_releases(resources: Sequence[Resource]) -> Iterator[str]:
    for resource in resources:
        if resource.kind == "releases":
            yield f"{resource.name}/"


def _folders_above(names: Iterable[str]) -> Iterator[str]:
    """Every folder that one of the paths in `names` is in."""
    for name in names:
        folder = name.rpartition("/")[0] if name.startswith("/") else ""
        while folder:
            yield folder
            folder = folder.rpartition("/")[0]


def _can_be_probed(resource: Resource) -> bool:
    return resource.kind in ("file", "link", "user")


def _probe_request(resource_id: str, removed: ManagedEntry | None) -> dict[str, object]:
    """The query about something; if it is `removed`, with the names in a folder, or a content."""
    kind, _, name = resource_id.partition(":")
    query: dict[str, object] = {}
    if removed is not None and kind == "directory":
        query = {"entries": True, **({"unowned": True} if removed.get("implicit") else {})}
    elif removed is not None and kind == "file" and not removed.get("secret"):
        query = {"sha256": None, "want_content": True}
    return {"id": resource_id, "kind": kind, "name": name, "query": query}


def _named_entry(resource: Resource, *, is_deep: bool) -> dict[str, object]:
    about = {"site": resource.site, "task": resource.task, "notify": list(resource.notify)}
    return {
        "id": resource.id,
        **{key: value for key, value in about.items() if value},
        **({"deep": True} if is_deep else {}),
        **({"secret": True} if resource.secret else {}),
    }


def _reached(site: Site) -> ReachedSite:
    reached: ReachedSite = {
        "names": list(site.names),
        "proxy": site.proxy,
        "tls": site.has_tls,
        "paths": [example_of(route.path) for route in site.routes if route.websocket],
    }
    return reached if site.port is None else {**reached, "port": site.port}


def _handler_record(handler: Handler) -> dict[str, object]:
    return {
        "name": handler.name,
        "action": handler.action,
        "unit": handler.unit,
        "argv": list(handler.argv),
        "config_test": list(handler.config_test),
    }


def _grouped(entries: Sequence[ManagedEntry], desired: DesiredState) -> Iterator[tuple[str, int]]:
    """What is left over, with its generation: a site as one thing, a folder with its contents."""
    served = {site.domain for site in desired.sites}
    sites: dict[str, list[ManagedEntry]] = {}
    others: list[ManagedEntry] = []
    for entry in entries:
        domain = entry.get("site", "")
        is_of_site = domain and domain not in served and not is_certificate(entry)
        (sites.setdefault(domain, []) if is_of_site else others).append(entry)
    for domain, of_site in sites.items():
        yield f"site {domain}", min(entry["since"] for entry in of_site)
    folders = [thing(each["id"]) for each in others if each["id"].startswith("directory:")]
    tops = tuple(f"{folder}/" for folder in folders)
    for entry in others:
        if not thing(entry["id"]).startswith(tops):
            yield _words(entry["id"]), entry["since"]


def _words(resource_id: str) -> str:
    """``file /etc/app.conf``, ``certificate of a.example.com``."""
    kind, _, name = resource_id.partition(":")
    if resource_id.startswith("/"):
        return resource_id
    return f"certificate of {name}" if kind == "certificate" else f"{kind} {name}"


def _hint(staying: Sequence[ManagedEntry]) -> str:
    """How to remove what is left over."""
    more = []
    if any(map(_is_package, staying)):
        more.append("packages only with --prune-packages")
    if any(map(is_certificate, staying)):
        more.append("certificates only with --prune-certificates")
    words = f" ({', '.join(more)})" if more else ""
    return f"what is no longer in the playbook stays; --prune removes it{words}"
