"""Handlers: reloading, restarting, starting and stopping units, and running commands."""

from __future__ import annotations

from deployer.agent.errors import StepError
from deployer.agent.loaded import Loading
from deployer.agent.owed import settle_owed
from deployer.agent.services import Systemd
from deployer.agent.settings import COMMAND_LIMIT_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.children import Children
    from deployer.agent.settings import Json


def run_handler(children: Children, handler: Json) -> None:
    """Carry out a handler's action, and make sure that its unit runs afterwards."""
    systemd, unit, action = Systemd(children), handler.get("unit", ""), handler["action"]
    loading = Loading(systemd, handler)
    if action == "run":
        children.succeed(list(handler["argv"]), limit_s=COMMAND_LIMIT_S)
    elif action == "reload":
        systemd.reload(unit)
    elif action in ("restart", "start", "stop"):
        systemd.act(action, unit)
        if action != "stop":
            systemd.must_be_active(unit, action)
    else:
        raise StepError(f"a handler cannot {action!r}")
    loading.done()
    settle_owed(handler)
