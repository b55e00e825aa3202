"""Checks of ranges of addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from deployer.model import Value
from deployer.playbook.schema.values import InvalidValue
from deployer.playbook.yaml.source import nearest


def ranges(values: Iterable[Value], *, presets: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Ranges of addresses in CIDR notation; the names of presets are replaced by theirs."""
    found: dict[str, None] = {}
    for value in values:
        if isinstance(value, str) and value in presets:
            found |= dict.fromkeys(presets[value])
        else:
            found[address_range(value, words=presets)] = None
    return tuple(found)


def address_range(value: Value, *, words: Iterable[str] = ()) -> str:
    """A range of addresses in CIDR notation, or a single address."""
    import ipaddress

    what = "an address or a range"
    if not isinstance(value, str):
        raise InvalidValue(value, what, "write it as 192.0.2.0/24")
    try:
        network = ipaddress.ip_network(value)
    except ValueError:
        near = nearest(value, words)
        try:
            proper = ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise InvalidValue(value, what, near or "write it as 192.0.2.0/24") from None
        raise InvalidValue(value, what, f"the range with this address is {proper}") from None
    if network.prefixlen == 0:
        raise InvalidValue(value, what, "it has every address")
    is_single = network.num_addresses == 1
    return str(network.network_address) if is_single else str(network)
