"""The contents of inventory files before variables are merged."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from deployer.playbook.yaml.source import Problems, Spot, YamlMap, spot_of


@dataclass(slots=True, eq=False)
class Group:
    """A group while an inventory is read: its own hosts, children and variables.

    `children` are by name, with the place that makes each one a child.
    """

    name: str
    hosts: dict[str, None] = field(default_factory=dict)
    children: dict[str, Spot | None] = field(default_factory=dict)
    layers: list[YamlMap] = field(default_factory=list)


@dataclass(slots=True)
class RawHost:
    """A host while an inventory is read; `source` is the file of its first mention."""

    name: str
    spot: Spot
    source: str = ""
    port: int | None = None
    layers: list[YamlMap] = field(default_factory=list)


def _first_groups() -> dict[str, Group]:
    every, ungrouped = Group("all"), Group("ungrouped")
    every.children["ungrouped"] = None
    return {"all": every, "ungrouped": ungrouped}


@dataclass(slots=True)
class RawInventory:
    """The contents of all files before variables are merged, filled by the readers.

    `source` is the file that is being read.
    """

    groups: dict[str, Group] = field(default_factory=_first_groups)
    hosts: dict[str, RawHost] = field(default_factory=dict)
    problems: Problems = field(default_factory=Problems)
    source: str = ""

    def group(self, name: str) -> Group:
        return self.groups.setdefault(name, Group(name))

    def add_host(self, name: str, spot: Spot, *, group: str, port: int | None = None) -> None:
        """Add a host to a group; the port of its first mention counts."""
        if name not in self.hosts:
            self.hosts[name] = RawHost(name, spot, self.source, port)
        self.group(group).hosts[name] = None

    def set_variables(self, name: str, variables: YamlMap) -> None:
        """Set variables of a group or host; as in Ansible, of the group if the name is both."""
        owner: Group | RawHost = self.groups[name] if name in self.groups else self.hosts[name]
        owner.layers.append(variables)

    def complete(self) -> Hierarchy:
        """Connect what has no parent with `all`, find the hosts without a group; then the depths.

        Raises: SourceErrors, for a group that contains itself.
        """
        has_parent = {child for group in self.groups.values() for child in group.children}
        every = self.groups["all"]
        for name in self.groups:
            if name != "all" and name not in has_parent:
                every.children[name] = None
        ungrouped = self.groups["ungrouped"]
        grouped = {
            host
            for group in self.groups.values()
            if group is not every and group is not ungrouped
            for host in group.hosts
        }
        ungrouped.hosts = {host: None for host in ungrouped.hosts if host not in grouped}
        for host in self.hosts:
            if host not in grouped and host not in ungrouped.hosts:
                # As in Ansible, a name that is both means the group.
                if host in self.groups:
                    ungrouped.children[host] = None
                else:
                    ungrouped.hosts[host] = None
        return Hierarchy(self, self._depths())

    def _depths(self) -> dict[str, int]:
        """The maximum depth of each group below `all`; each group and edge is visited once."""
        waiting: dict[str, int] = dict.fromkeys(self.groups, 0)
        for group in self.groups.values():
            for child in group.children:
                waiting[child] += 1
        depths = dict.fromkeys(self.groups, 0)
        ready = deque(name for name, parents in waiting.items() if not parents)
        while ready:
            name = ready.popleft()
            for child in self.groups[name].children:
                depths[child] = max(depths[child], depths[name] + 1)
                waiting[child] -= 1
                if not waiting[child]:
                    ready.append(child)
        self._refuse_cycle({name for name, parents in waiting.items() if parents})
        self.problems.raise_if_any()
        return depths

    def _refuse_cycle(self, unresolved: set[str]) -> None:
        """Report one cycle among groups whose parents are not all resolved."""
        if not unresolved:
            return
        # Each of them has a parent among them: go up until a group repeats.
        parent_of = {child: name for name in unresolved for child in self.groups[name].children}
        seen: dict[str, None] = {}
        name = min(unresolved)
        while name not in seen:
            seen[name] = None
            name = parent_of[name]
        cycle = [*list(seen)[list(seen).index(name) :]]
        cycle.reverse()
        spots = [
            spot
            for parent, child in zip([cycle[-1], *cycle], cycle, strict=False)
            if (spot := self.groups[parent].children.get(child)) is not None
        ]
        last = max(spots, key=lambda spot: (spot.file.path, spot.line, spot.column))
        chain = " → ".join([*cycle, cycle[0]])
        self.problems.add(
            last.error(
                f"the group '{cycle[0]}' contains itself: {chain}", hint="remove one of them"
            )
        )


class Hierarchy:
    """The groups of a complete inventory: who is in which, found on demand and kept."""

    def __init__(self, raw: RawInventory, depths: dict[str, int]) -> None:
        self._raw = raw
        self.depths = depths
        self._members: dict[str, tuple[str, ...]] = {}
        self._above: dict[str, dict[str, None]] = {}
        self._parents: dict[str, list[str]] = {name: [] for name in raw.groups}
        self._groups_of: dict[str, list[str]] = {name: [] for name in raw.hosts}
        for group in raw.groups.values():
            for child in group.children:
                self._parents[child].append(group.name)
            for host in group.hosts:
                self._groups_of[host].append(group.name)

    def members(self, name: str) -> tuple[str, ...]:
        """The hosts of a group: its own, then those of its children, level by level."""
        if name not in self._members:
            found: dict[str, None] = {}
            for group in self._below(name):
                found.update(group.hosts)
            self._members[name] = tuple(found)
        return self._members[name]

    def _below(self, name: str) -> Iterator[Group]:
        queue, seen = deque([name]), {name}
        while queue:
            group = self._raw.groups[queue.popleft()]
            yield group
            for child in group.children:
                if child not in seen:
                    seen.add(child)
                    queue.append(child)

    def direct_groups(self, host: str) -> tuple[str, ...]:
        """The groups in which a host is mentioned itself, without `all`."""
        return tuple(name for name in self._groups_of[host] if name != "all")

    def with_parents(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Groups and all groups that contain them, without `all`, by name."""
        found: dict[str, None] = dict.fromkeys(names)
        queue = deque(names)
        while queue:
            for parent in self._parents[queue.popleft()]:
                if parent not in found:
                    found[parent] = None
                    queue.append(parent)
        found.pop("all", None)
        return tuple(sorted(found))


def check_names(variables: YamlMap) -> None:
    """Check that all keys are valid names of variables.

    Raises:
        SourceErrors: one error for each invalid key.
    """
    problems = Problems()
    for key in variables:
        if not isinstance(key, str) or not key.isidentifier():
            problems.add(
                spot_of(variables, key, key=True).error(
                    f"'{key}' is not a variable name",
                    hint="letters, digits and '_', not starting with a digit",
                )
            )
    problems.raise_if_any()
