"""Large inventories: the steps of a load grow with the inventory, not with its square."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from deployer.playbook import load_inventory


def steps(action: Callable[[], object]) -> int:
    """How many instructions of Python code an action takes."""
    counted = 0

    def count(frame: FrameType, event: str, _: object) -> Any:
        nonlocal counted
        if event == "call":
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
        elif event == "opcode":
            counted += 1
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        action()
    finally:
        sys.settrace(before)
    return counted


def nested(number: int) -> str:
    """Groups that each contain the next one; the last one has the hosts."""
    chain = "".join(f"[g{n}:children]\ng{n + 1}\n[g{n}:vars]\nv{n}=1\n" for n in range(number))
    return f"{chain}[g{number}]\nh1\nh2\n"


def flat(number: int) -> str:
    """As many hosts and groups, each host in one group."""
    return "".join(f"[g{n}]\nh{n} ansible_host=h{n}.eu\n[g{n}:vars]\na=1\n" for n in range(number))


def wide(number: int) -> str:
    """Many hosts in a few groups."""
    groups = "".join(f"[p{n}:children]\nweb\n" for n in range(5))
    return f"[web]\nh[1:{number}]\n{groups}"


@pytest.mark.parametrize("layout", [nested, flat, wide])
def test_twice_the_inventory_takes_twice_the_steps(
    layout: Callable[[int], str], tmp_path: Path
) -> None:
    path = tmp_path / "hosts"
    counts = []
    for number in (40, 80, 160):
        path.write_text(layout(number))

        def load() -> None:
            inventory = load_inventory([path])
            inventory.select("all")
            inventory.select("all", "h1")

        load()  # imports, and caches of regular expressions
        counts.append(steps(load))
    first, second = counts[1] - counts[0], counts[2] - counts[1]
    assert second < 2.3 * first, counts


def test_many_nested_groups(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text(nested(800))
    inventory = load_inventory([path])
    assert len(inventory.hosts["h1"].groups) == 801
    assert inventory.groups["g0"] == ("h1", "h2")
    assert inventory.hosts["h2"].vars["v799"] == 1
