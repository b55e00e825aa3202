"""Manifests: type, mode, owner, time and hash of many paths at one moment."""

from __future__ import annotations

import os
import stat

from deployer.agent import settings
from deployer.agent.encoding import sha256, to_b64
from deployer.agent.files import hash_of, look_at, names_in, type_of
from deployer.agent.proxies import PROXIES
from deployer.agent.settings import BOOT_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployer.agent.settings import Entry, Json, Manifest

#: Below /var/lib: data that changes constantly, belongs to a database, or is none of deployer's.
NOT_LOOKED_INTO = frozenset(
    [
        "apt",
        "dpkg",
        "docker",
        "containers",
        "containerd",
        "deployer",
        "lxc",
        "lxd",
        "machines",
        "libvirt",
        "kubelet",
        "snapd",
        "flatpak",
        "mysql",
        "postgresql",
        "mongodb",
        "redis",
    ]
)
#: Below /var/lib: small files of package scripts, which a purge does not always restore.
_KEPT_IN_VAR_LIB = ("ucf", "pam", "systemd/deb-systemd-", "misc", "python", "shells.state")
_VAR_LIB_DEPTH = 4
_VAR_LIB_NAMES = 500
#: Files that the scripts of web servers' packages create, and a purge leaves behind.
LEFT_BY_PURGES = (
    "/var/www/html/index.html",
    *(path for each in PROXIES.values() for path in each.left_by_purges),
)


def entry_of(path: str) -> Entry | None:
    """The entry of one path: ``t`` type, ``m`` mode, ``u`` and ``g`` owner, ``s`` size,
    ``n`` time in ns, ``to`` target of a link, ``k`` hash of a folder's names, ``x`` attributes."""
    info = look_at(path)
    if info is None:
        return None
    kind = type_of(info)
    entry: Entry = {"t": kind, "u": info.st_uid, "g": info.st_gid, "n": info.st_mtime_ns}
    if kind == "link":
        entry["to"] = os.readlink(path)
        return entry
    entry["m"] = stat.S_IMODE(info.st_mode)
    if kind == "file":
        entry["s"] = info.st_size
    elif kind == "directory":
        entry["k"] = names_hash(path)
    extended = extended_attributes(path)
    if extended:
        entry["x"] = extended
    return entry


def others_in(folder: str) -> list[str]:
    """The names in a folder, without the files of the watchdog, which no manifest contains."""
    names = names_in(folder)
    if folder in (settings.UNITS, settings.BOOT_WANTS):
        return [name for name in names if name not in (BOOT_NAME, BOOT_NAME + ".new")]
    return names


def names_hash(folder: str) -> str:
    names = sorted(os.fsencode(name) for name in others_in(folder))
    return sha256(b"\0".join(names)).hexdigest()[:16]


def extended_attributes(path: str) -> Json:
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return {name: to_b64(os.getxattr(path, name, follow_symlinks=False)) for name in names}
    except OSError:
        return {}


def tree_of(top: str, manifest: Manifest, *, depth: int = 1000, names: int = 1 << 30) -> None:
    """Add `top` and everything below, without the contents of folders with over `names` names."""
    entry = entry_of(top)
    if entry is None:
        return
    manifest[top] = entry
    if entry["t"] != "directory" or depth <= 0:
        return
    found = others_in(top)
    if len(found) > names:
        return
    for name in found:
        if (
            not (top == settings.VAR_LIB and name in NOT_LOOKED_INTO)
            and os.path.join(top, name) != settings.STATE
        ):
            tree_of(os.path.join(top, name), manifest, depth=depth - 1, names=names)


def manifest_of(touched: dict[str, bool]) -> Manifest:
    """/etc, /var/lib within bounds, and the touched paths with all below and all parent folders."""
    manifest: Manifest = {}
    tree_of(settings.ETC, manifest)
    tree_of(settings.VAR_LIB, manifest, depth=_VAR_LIB_DEPTH, names=_VAR_LIB_NAMES)
    folders = {folder for path in touched for folder in folders_above(path)}
    for folder in sorted(folders.union(_local_folders()) - set(manifest)):
        entry = entry_of(folder)
        if entry is not None:
            manifest[folder] = entry
    for path, is_deep in touched.items():
        if is_deep or path not in manifest:
            tree_of(path, manifest, depth=1000 if is_deep else 0)
    return manifest


def _local_folders() -> Iterator[str]:
    """Folders of /usr/local, in which package scripts create and remove empty folders."""
    yield "/usr/local"
    for name in names_in("/usr/local"):
        folder = os.path.join("/usr/local", name)
        if os.path.isdir(folder) and not os.path.islink(folder):
            yield folder


def folders_above(path: str) -> list[str]:
    """The parent folders of `path`, outermost first, without the root."""
    parts = path.split("/")[1:-1]
    return ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]


def is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def has_kept_content(path: str) -> bool:
    """Whether the content of a file is kept if package tools may change it."""
    if is_below(path, settings.ETC):
        return True
    if not is_below(path, settings.VAR_LIB):
        return False
    return path[len(settings.VAR_LIB) + 1 :].startswith(_KEPT_IN_VAR_LIB)


def same_meta(one: Entry, other: Entry) -> bool:
    """Whether two entries are equal except for time and content."""
    return all(one.get(key) == other.get(key) for key in ("t", "m", "u", "g", "s", "to", "x"))


def same_stamp(one: Entry, other: Entry) -> bool:
    return same_meta(one, other) and one["n"] == other["n"]


def content_hash(path: str, entry: Entry, known: Entry | None) -> str | None:
    """The hash of the file of `entry`, from `known` if both have the same metadata and time."""
    if entry["t"] != "file":
        return None
    if known is not None and known.get("h") and same_stamp(entry, known):
        return str(known["h"])
    try:
        return hash_of(path)
    except OSError:
        return None


def is_same(path: str, now: Entry | None, then: Entry | None) -> bool:
    """Whether `path` is as it was `then`, except for its time: content, mode, owner, target."""
    if now is None or then is None:
        return now is None and then is None
    if not same_meta(now, then):
        return False
    if now["t"] != "file" or now["n"] == then["n"]:
        return True
    return bool(then.get("h")) and content_hash(path, now, None) == then["h"]
