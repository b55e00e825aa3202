"""Connection variables of plays: how each play's hosts are reached, one way for the whole run."""

from __future__ import annotations

from collections.abc import Sequence

from deployer.errors import SourceError
from deployer.model import Host, Value
from deployer.playbook.inventory.load import Inventory, connection_variables
from deployer.playbook.load.library import LoadedPlay
from deployer.playbook.yaml.source import MergedVars, Problems, SourceFile, YamlMap, spot_of
from deployer.text.connection import HONOURED, PLAY_KEYWORDS


def inventories(plays: Sequence[LoadedPlay], inventory: Inventory) -> tuple[Inventory, ...]:
    """The inventory with the connection variables of each play.

    Raises: SourceErrors, if two plays reach a host in different ways, or a variable is wrong.
    """
    found = tuple(_of_play(play, inventory) for play in plays)
    if all(each is inventory for each in found):
        return found
    problems = Problems()
    ways: dict[str, tuple[tuple[object, ...], LoadedPlay]] = {}
    for play, own in zip(plays, found, strict=True):
        for host in own.select(play.hosts):
            way, first = ways.setdefault(host.name, (_way(host), play))
            if way != _way(host):
                problems.add(_conflict(host, play, first))
    problems.raise_if_any()
    return found


def _of_play(play: LoadedPlay, inventory: Inventory) -> Inventory:
    every = MergedVars()
    for layer in play.layers:
        if isinstance(layer.values, YamlMap):
            every.merge(layer.values)
        else:
            every.take(layer.values)
    own = connection_variables(every)
    keywords = MergedVars()
    for keyword, name in PLAY_KEYWORDS.items():
        if play.node.get(keyword) is not None:
            keywords[name] = play.node[keyword]
            keywords.spots[name] = spot_of(play.node, keyword)
    if not own and not keywords:
        return inventory
    return inventory.with_variables(own, context=every, keywords=keywords)


def _way(host: Host) -> tuple[object, ...]:
    variables: dict[str, Value] = {key: host.vars.get(key) for key in sorted(HONOURED)}
    return host.hostname, host.port, host.user, tuple(map(str, variables.values()))


def _conflict(host: Host, play: LoadedPlay, first: LoadedPlay) -> SourceError:
    keywords = (
        spot_of(each.node, keyword)
        for each in (play, first)
        for keyword in PLAY_KEYWORDS
        if each.node.get(keyword) is not None
    )
    spot = next(
        (
            spot
            for each in (play, first)
            for layer in each.layers
            for key in layer.values
            if str(key).startswith("ansible_") and (spot := layer.spot(key)) is not None
        ),
        None,
    )
    spot = spot or next(keywords, None) or SourceFile(str(play.source)).spot((1, 1))
    return spot.error(
        f"the plays '{first.name}' and '{play.name}' reach '{host.name}' in different ways",
        hint="a run uses one connection per host: set the variable in the inventory",
    )
