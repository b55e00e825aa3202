"""The check of changed unit files with systemd's own reader, before systemd loads them.

systemd ignores a setting that it cannot read and starts the unit without it, for example without
its limits. It also ignores settings of later versions, which is only worth a note.
"""

from __future__ import annotations

import os
import re

from deployer.agent.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from deployer.agent.children import Children

_LIMIT_S = 20.0
_SUFFIXES = (".service", ".socket", ".timer", ".mount", ".path", ".target", ".slice")
_MESSAGE = re.compile(r"(/[^:\n]+):([0-9]+): (.+)")
#: Words of messages about a setting that systemd cannot read, and drops.
_DROPPED = re.compile(
    "Failed to|[Ii]nvalid|not (a )?valid|absolute path|Missing|[Uu]nbalanced|outside of section"
)


def check_unit_files(children: Children, paths: Iterable[str], say: Callable[[str], None]) -> None:
    """Check the changed units at `paths`; other paths are left out.

    Raises:
        StepError: systemd cannot read a line of one of them.
    """
    units = [path for path in paths if path.endswith(_SUFFIXES) and os.path.isfile(path)]
    if not units:
        return
    command = ["systemd-analyze", "verify", "--man=no", *units]
    try:
        _, output = children.run(command, limit_s=_LIMIT_S)
    except StepError:
        return  # it is not installed: the start of the unit decides
    for path, line, text in _MESSAGE.findall(output):
        if path not in units:
            continue
        if _DROPPED.search(text):
            raise StepError(f"systemd cannot read {path}, line {line}: {text}")
        say(f"{path}, line {line}: {text}")
