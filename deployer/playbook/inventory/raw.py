"""The contents of inventory files before variables are merged."""

from __future__ import annotations

from dataclasses import dataclass, field

from deployer.playbook.yaml.source import Problems, Spot, YamlMap, spot_of


@dataclass(slots=True)
class Group:
    """A group while an inventory is read: its own hosts, children and variables."""

    name: str
    hosts: dict[str, None] = field(default_factory=dict)
    children: dict[str, None] = field(default_factory=dict)
    layers: list[YamlMap] = field(default_factory=list)


@dataclass(slots=True)
class RawInventory:
    """The contents of all files before variables are merged, filled by the readers."""

    groups: dict[str, Group] = field(default_factory=dict)
    hosts: dict[str, list[YamlMap]] = field(default_factory=dict)
    spots: dict[str, Spot] = field(default_factory=dict)
    problems: Problems = field(default_factory=Problems)

    def group(self, name: str) -> Group:
        return self.groups.setdefault(name, Group(name))

    def add_host(self, name: str, spot: Spot, *, group: str | None = None) -> None:
        self.hosts.setdefault(name, [])
        self.spots.setdefault(name, spot)
        if group is not None:
            self.group(group).hosts[name] = None

    def closure(self, name: str) -> dict[str, None]:
        """The hosts of a group and of all its descendants, in the order of the inventory."""
        if name == "all":
            return dict.fromkeys(self.hosts)
        found: dict[str, None] = {}
        pending, seen = [name], set()
        while pending:
            current = pending.pop()
            if current in seen:
                continue
            seen.add(current)
            group = self.groups.get(current)
            if group is not None:
                found.update(group.hosts)
                pending.extend(group.children)
        return {host: None for host in self.hosts if host in found}

    def depth(self, name: str) -> int:
        """The maximum depth of a group below `all`: children override their parents."""
        depths = {name: 0}
        pending = [name]
        while pending:
            current = pending.pop()
            for parent in self.groups.values():
                if current in parent.children and depths[current] < len(self.groups):
                    deeper = depths[current] + 1
                    if deeper > depths.get(parent.name, -1):
                        depths[parent.name] = deeper
                        pending.append(parent.name)
        return max(depths.values())


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
