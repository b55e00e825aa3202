"""Former states of a host as plans, also where paths have a different type now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deployer.model import Resource
from deployer.plan.desired import probe_requests
from deployer.plan.plan import make_plan
from deployer.plan.rollback import former_state, with_types_replaced
from deployer.plan.wire import observation_from_json, plan_to_json
from deployer.resources import Origin, from_task
from tests.support.agent.process import AgentProcess, commit_of, local_agent


class World:
    """A host's folder with a real agent; each commit is a generation."""

    def __init__(self, folder: Path) -> None:
        for name in ("etc", "var_lib", "srv", "cache"):
            (folder / name).mkdir()
        self.top = folder / "srv"
        self.agent: AgentProcess = local_agent(folder)
        self._number = 0

    def apply(self, *tasks: tuple[str, dict[str, Any]]) -> None:
        made = [from_task(module, args, Origin()) for module, args in tasks]
        self._commit(tuple(resource for each in made for resource in each))

    def roll_back(self, to: int) -> None:
        state = former_state(self.agent.ask("undo", to=to))  # type: ignore[arg-type]
        self._commit(state.resources, rolls_back_to=to)

    def _commit(self, resources: tuple[Resource, ...], **more: int) -> None:
        from deployer.plan.desired import DesiredState

        asked = self.agent.ask("probe", resources=probe_requests(resources))["observations"]
        seen = {each["id"]: observation_from_json(each) for each in asked}
        if more:
            desired = DesiredState(resources=resources, handlers={}, sites=())
            desired, seen = with_types_replaced(desired, seen)
            resources = desired.resources
        plan = make_plan(host="h", created_at="", desired=resources, handlers={}, observations=seen)
        self._number += 1
        commit = {**commit_of(f"c{self._number}"), "keep": 50, **more}
        self.agent.ask("apply", plan=plan_to_json(plan), commit=commit)
        self.agent.ask("confirm", commit=commit["id"], verified=[])

    def tree(self) -> dict[str, object]:
        return {
            str(path.relative_to(self.top)): (
                str(path.readlink())
                if path.is_symlink()
                else path.read_bytes()
                if path.is_file()
                else None
            )
            for path in sorted(self.top.rglob("*"))
        }

    def file(self, name: str, content: bytes = b"1") -> tuple[str, dict[str, Any]]:
        return "copy", {"dest": f"{self.top}/{name}", "content": content}

    def folder(self, name: str) -> tuple[str, dict[str, Any]]:
        return "file", {"path": f"{self.top}/{name}", "state": "directory"}

    def link(self, name: str) -> tuple[str, dict[str, Any]]:
        return "file", {"path": f"{self.top}/{name}", "state": "link", "src": "nowhere"}

    def absent(self, name: str) -> tuple[str, dict[str, Any]]:
        return "file", {"path": f"{self.top}/{name}", "state": "absent"}


def test_every_type_takes_the_place_of_every_other(tmp_path: Path) -> None:
    world = World(tmp_path)
    try:
        world.apply(world.folder("x"), world.file("x/one"), world.file("y"))
        states = [world.tree()]
        for steps in (
            [world.absent("x")],
            [world.file("x"), world.absent("y")],
            [world.absent("x"), world.folder("y"), world.file("y/deep/two")],
            [world.link("x"), world.absent("y")],
            [world.link("y")],
        ):
            world.apply(*steps)
            states.append(world.tree())
        for to in (1, 6, 3, 5, 2, 4, 1):
            world.roll_back(to)
            assert world.tree() == states[to - 1], to
    finally:
        world.agent.end()


def test_what_a_service_wrote_into_a_folder_that_was_rolled_back_does_not_return(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    try:
        world.apply(world.file("one"))
        world.apply(world.folder("app"), world.file("app/conf"))
        (world.top / "app/data").write_text("written by the service")
        world.roll_back(1)
        assert world.tree() == {"one": b"1"}
        world.apply(world.file("one", b"2"))
        world.roll_back(1)
        assert world.tree() == {"one": b"1"}
        world.roll_back(2)
        assert set(world.tree()) >= {"one", "app", "app/conf"}
    finally:
        world.agent.end()
