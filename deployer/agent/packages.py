"""Packages: dpkg's records, and apt-get."""

from __future__ import annotations

import contextlib
import json
import os

from deployer.agent import settings
from deployer.agent.errors import StepError
from deployer.agent.files import look_at, names_in, read_json, read_text, write_synced
from deployer.agent.settings import PACKAGE_LIMIT_S

_LISTS = "/var/lib/dpkg/info"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from deployer.agent.children import Children
    from deployer.agent.settings import Json


def package_states() -> dict[str, tuple[str, str]]:
    """The packages in dpkg's database: state (``installed``, ``config-files``…) and version."""
    states = {}
    for block in read_text("/var/lib/dpkg/status").split("\n\n"):
        if block.startswith("Package: ") or "\nPackage: " in block:
            fields = _fields(block)
            states[fields["Package"]] = (fields["Status"].split()[-1], fields.get("Version", ""))
    return states


def _fields(block: str) -> dict[str, str]:
    fields = {"Package": "", "Status": "? ? ?"}
    for line in block.splitlines():
        key, colon, value = line.partition(": ")
        if colon and key in ("Package", "Status", "Version", "Auto-Installed"):
            fields[key] = value
    return fields


def installed_packages(names: list[str]) -> dict[str, str]:
    """The versions of those of `names` that are installed; other packages are not parsed."""
    text = "\n" + read_text("/var/lib/dpkg/status")
    found = {}
    for name in names:
        start = text.find(f"\nPackage: {name}\n")
        if start >= 0:
            fields = _fields(text[start : text.find("\n\n", start + 1)])
            if fields["Status"].split()[-1] == "installed":
                found[name] = fields["Version"]
    return found


def owner_of(path: str) -> str:
    """A package that has `path` in its list of files; empty if none has. Source: dpkg(1)."""
    line = os.fsencode(f"\n{path}\n")
    for name in names_in(_LISTS):
        if name.endswith(".list"):
            # Not `read_text`, which decodes: there are hundreds of these lists.
            with contextlib.suppress(FileNotFoundError), open(f"{_LISTS}/{name}", "rb") as file:
                if line in file.read():
                    return name[: -len(".list")].partition(":")[0]
    return ""


def automatic_packages() -> list[str]:
    """The packages that apt would remove once nothing needs them."""
    blocks = read_text("/var/lib/apt/extended_states").split("\n\n")
    every = [_fields(block) for block in blocks]
    return sorted(fields["Package"] for fields in every if fields.get("Auto-Installed") == "1")


_APT_ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBCONF_NONINTERACTIVE_SEEN": "true",
    "NEEDRESTART_MODE": "a",
    "NEEDRESTART_SUSPEND": "1",
    "APT_LISTCHANGES_FRONTEND": "none",
    "UCF_FORCE_CONFFOLD": "1",
}
_APT_OPTIONS = [
    "-o",
    "Dpkg::Options::=--force-confdef",
    "-o",
    "Dpkg::Options::=--force-confold",
    "-o",
    "DPkg::Lock::Timeout=60",
]
#: An estimate of the additional space that packages take, by folder.
PACKAGE_MARGINS = {"/usr": 96 << 20, "/var/lib/dpkg": 16 << 20, "/var/cache": 32 << 20}
#: Messages of apt-get after which `apt-get update` may help.
_LISTS_ARE_OLD = ("Unable to locate", "no installation candidate", "was not found", "to fetch")


class Apt:
    """Debian's package manager: apt-get(8); dpkg's database decides what is installed."""

    def __init__(self, children: Children, on_output: Callable[[str], None] | None) -> None:
        self._children = children
        self._on_output = on_output

    def _get(self, *words: str) -> tuple[int, str]:
        # Not interruptible: a consistent dpkg database is worth a few seconds.
        return self._children.run(
            ["apt-get", "-y", "-q", *_APT_OPTIONS, *words],
            limit_s=PACKAGE_LIMIT_S,
            environment=_APT_ENVIRONMENT,
            interruptible=False,
            on_output=self._on_output,
        )

    def _change(self, *words: str) -> None:
        code, output = self._get(*words)
        if code != 0:
            raise StepError(f"apt-get {words[0]} ended with exit code {code}", output)

    def install(self, wanted: dict[str, str]) -> None:
        """Install packages, name → version or an empty text; update the lists only if needed."""
        words = [name + ("=" + version if version else "") for name, version in wanted.items()]
        command = ("install", "--no-install-recommends", "--allow-downgrades", *words)
        code, output = self._get(*command)
        if code == 0:
            return
        if not any(words in output for words in _LISTS_ARE_OLD):
            raise StepError(f"apt-get install ended with exit code {code}", output)
        updated, update_output = self._get("update")
        if updated != 0:
            text = f"{output}\n\napt-get update:\n{update_output}"
            raise StepError(
                f"apt-get could neither install {' '.join(words)} nor update its package lists",
                text,
            )
        self._change(*command)

    def remove(self, names: list[str]) -> None:
        self._change("remove", *names)

    def purge(self, names: list[str], ours: list[str]) -> None:
        """Purge `names`, unless that would remove packages other than `ours`."""
        self._children.run(
            ["dpkg", "--configure", "-a", "--force-confold"],
            limit_s=PACKAGE_LIMIT_S,
            environment=_APT_ENVIRONMENT,
            interruptible=False,
        )
        _, simulated = self._get("-s", "purge", *names)
        lines = [line.split() for line in simulated.splitlines()]
        going = [words[1] for words in lines if words[:1] in (["Purg"], ["Remv"])]
        others = sorted(set(going) - set(ours))
        if others:
            raise StepError("other packages depend on them by now: {}".format(" ".join(others)))
        self._change("purge", *names)

    def mark(self, before: list[str], present: dict[str, tuple[str, str]]) -> None:
        """Restore the former marks of packages that were there before."""
        now = automatic_packages()
        for word, names in (
            ("auto", sorted(set(before) - set(now))),
            ("manual", sorted(set(now) - set(before))),
        ):
            names = [name for name in names if name in present]
            if names:
                self._children.succeed(["apt-mark", word, *names], interruptible=False)


_CANDIDATE_SOURCES = (
    "/var/lib/apt/lists",
    "/var/lib/dpkg/status",
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d",
    "/etc/apt/preferences",
    "/etc/apt/preferences.d",
)


def package_versions(names: list[str], children: Children) -> Json:
    """For each name, the installed version, the one that would be installed, and the snap's."""
    installed = installed_packages(names)
    asked = [name for name in names if name not in installed]
    offered = _candidates(asked, children) if asked else {}
    return {
        name: {
            "installed": installed.get(name),
            "candidate": installed.get(name, offered.get(name)),
            **_of_snap(name),
        }
        for name in names
    }


_SNAPS = "/snap"


def _of_snap(name: str) -> Json:
    """The version of the snap with that name: snap.yaml, ``version: 5.1.0``."""
    if not os.path.exists(f"{_SNAPS}/bin/{name}"):
        return {}
    about = read_text(f"{_SNAPS}/{name}/current/meta/snap.yaml")
    for line in about.splitlines():
        key, _, value = line.partition(":")
        if key == "version":
            return {"snap": value.strip().strip("'\"")}
    return {}


def _candidates(names: list[str], children: Children) -> dict[str, str | None]:
    """The candidates of apt. This takes longer than all other facts, so it is cached in /run."""
    stamps = [entry.st_mtime_ns if entry else 0 for entry in map(look_at, _CANDIDATE_SOURCES)]
    path = os.path.join(settings.CACHE, "candidates.json")
    info = look_at(path)
    known = read_json(path) if info is not None and info.st_uid == os.geteuid() else None
    if known and known.get("stamps") == stamps and set(names) <= set(known["offered"]):
        return {name: known["offered"][name] for name in names}
    offered = (
        dict.fromkeys(names)
        if not os.path.exists("/usr/bin/apt-cache")
        else _policy(names, children)
    )
    try:
        os.makedirs(settings.CACHE, 0o700, exist_ok=True)
        write_synced(path, json.dumps({"stamps": stamps, "offered": offered}).encode())
    except OSError:
        pass  # without write access it is asked each time
    return offered


def _policy(names: list[str], children: Children) -> dict[str, str | None]:
    offered: dict[str, str | None] = dict.fromkeys(names)
    _, output = children.run(["apt-cache", "policy", *names])
    name = ""
    for line in output.splitlines():
        if line[:1].strip() and line.endswith(":"):
            name = line[:-1]
        elif line.startswith("  Candidate: ") and name in offered:
            version = line.partition(": ")[2]
            offered[name] = None if version == "(none)" else version
    return offered
