"""Restoring paths by comparing three states of each."""

from __future__ import annotations

import errno
import os
import stat

from deployer.agent import settings
from deployer.agent.commit.images import Images, ImageWriter
from deployer.agent.commit.manifest import (
    content_hash,
    folders_above,
    has_kept_content,
    is_below,
    is_same,
    manifest_of,
    names_hash,
    others_in,
    same_meta,
    same_stamp,
    tree_of,
)
from deployer.agent.commit.plan import covers
from deployer.agent.commit.replace import (
    change_attributes,
    make_fifo,
    make_folder,
    remove_entry,
    remove_temporary,
    replace_file,
    replace_link,
    restore_time,
    temporary_name,
)
from deployer.agent.encoding import canonical_json, to_b64
from deployer.agent.errors import StepError, os_words
from deployer.agent.files import chunks_of, hash_of, look_at, read_json, remove_tree, write_synced
from deployer.agent.packages import package_states
from deployer.agent.settings import SHOWN_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from deployer.agent.settings import Entry, Json, Manifest


def read_before(folder: str) -> Json:
    """The contents of ``before.json``.

    Raises:
        StepError: it is damaged.
    """
    before = read_json(os.path.join(folder, "before.json"))
    if before is None:
        raise StepError("before.json cannot be read")
    return before


def after_record(before: Json) -> Json:
    """The present state of the host, as far as it differs from `before`."""
    then: Manifest = before["manifest"]
    now = manifest_of(before["touched"])
    changed = {}
    for path, entry in now.items():
        known = then.get(path)
        if known is not None and same_stamp(entry, known) and entry.get("k") == known.get("k"):
            continue
        if entry["t"] == "file" and not is_live(path, before):
            entry["h"] = content_hash(path, entry, None)
        changed[path] = entry
    packages = before["packages"]
    return {
        "changed": changed,
        "gone": [path for path in then if path not in now],
        "packages": package_states() if packages is not None else None,
    }


def is_live(path: str, before: Json) -> bool:
    """Whether `path` is live data of services, whose content is not kept."""
    if not is_below(path, settings.VAR_LIB) or has_kept_content(path):
        return False
    return not any(covers(before["touched"], path))


class PutBack:
    """Restores paths from the state that an apply left to the state before it."""

    def __init__(self, before: Json, left: Callable[[Manifest], Manifest], folder: str) -> None:
        """`left` returns the state after the apply for the present one; `folder`: the commit's."""
        self._before = before
        self._then: Manifest = before["manifest"]
        self._folder = folder
        self._images = Images(settings.IMAGES, before["images"])
        self._aside = Images(folder, {})
        self._foreign: dict[str, Entry] = {}
        self._skipped: set[str] = set()
        self._occupied: dict[str, str] = {}  # folders of this commit with files of others
        self._lost: dict[str, str] = {}
        self.kept: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self._remove_temporaries()
        start = manifest_of(before["touched"])
        self._left = left(start)
        edits = read_json(os.path.join(folder, "edits.json"))
        if edits is None:
            self._find_edits(start)
            self._keep_aside(os.path.join(folder, "edits.json"))
        else:  # an earlier revert died: it may itself have caused present differences
            self._foreign, self.kept = edits["foreign"], edits["kept"]
            self._skipped = set(edits["skipped"])
            self._aside = Images(folder, edits["aside"])

    def _remove_temporaries(self) -> None:
        """Remove temporary files that a run left when it died between two operations."""
        for path in {**self._then, **self._before["touched"]}:
            if look_at(temporary_name(path)) is not None:
                remove_temporary(path)

    # later changes by others

    def _find_edits(self, start: Manifest) -> None:
        for path in {**self._then, **self._left, **start}:
            was, left, now = self._then.get(path), self._left.get(path), start.get(path)
            if is_same(path, now, left) or (was is not None and is_live(path, self._before)):
                continue
            if now is None and was is None:
                continue  # this commit's file is already removed
            if was is None and now is not None and self._is_product(path, now):
                continue
            self._skipped.add(path)
            if now is not None:
                self._foreign[path] = now
            ours = not is_same(path, left, was)
            if ours and not is_same(path, now, was):
                what = "removed" if now is None else "changed"
                self.kept[path] = f"it was {what} after the apply"
            elif was is None and self._is_new_folder(os.path.dirname(path)):
                self.kept[path] = "it was created after the apply in a folder of this commit"

    def _is_product(self, path: str, now: Entry) -> bool:
        """Whether a service of this commit created `path`: in a folder of the commit, outside /etc,
        and not as root."""
        if is_below(path, settings.ETC) or not self._is_new_folder(os.path.dirname(path)):
            return False
        return now["u"] != 0 or is_below(path, settings.VAR_LIB)

    def _is_new_folder(self, folder: str) -> bool:
        return folder not in self._then and folder in self._left

    def _keep_aside(self, record: str) -> None:
        """Copy the files of others, which a purge might remove, and record them in case this revert
        dies."""
        pack = os.path.join(self._folder, "aside.pack")
        remove_tree(pack)
        writer = ImageWriter(pack)
        try:
            for path, entry in self._foreign.items():
                if entry["t"] == "file" and is_below(path, settings.ETC):
                    try:
                        entry["h"] = writer.add(path)
                    except OSError as error:
                        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                            raise
        finally:
            writer.close()
        self._aside = Images(self._folder, writer.index)
        edits = {
            "foreign": self._foreign,
            "skipped": sorted(self._skipped),
            "kept": self.kept,
            "aside": writer.index,
        }
        write_synced(record, canonical_json(edits))

    def give_back_foreign(self) -> None:
        """Restore files of others that a purge has removed."""
        for path in sorted(self._foreign):
            entry = self._foreign[path]
            if look_at(path) is not None or not is_below(path, settings.ETC):
                continue
            try:
                for folder in folders_above(path):
                    if look_at(folder) is None:
                        like = self._left.get(folder) or {"m": 0o755, "u": 0, "g": 0}
                        make_folder(folder, {key: like[key] for key in ("m", "u", "g")})
                if entry["t"] == "file" and not self._aside.has(entry.get("h")):
                    raise StepError("it could not be copied")
                self._make(path, entry, self._aside)
            except (OSError, StepError) as error:
                self._lost[path] = f"the revert has lost it: {error}"

    def all_kept(self) -> dict[str, str]:
        """The paths that stay as others changed them, and why."""
        return {**self.kept, **self._occupied}

    def all_failed(self) -> dict[str, str]:
        """The paths that could not be restored, and why."""
        return {**self._lost, **self.failed}

    # restoring

    def run(self) -> None:
        """Restore everything except for the changes of others; may be called again."""
        self.failed.clear()
        self._occupied.clear()
        current = manifest_of(self._before["touched"])
        for path in list(current):
            if (
                path not in self._then
                and is_below(path, settings.VAR_LIB)
                and current[path]["t"] == "directory"
            ):
                tree_of(path, current)
        for path in sorted(set(current) - set(self._then) - self._skipped, reverse=True):
            if self._is_ours(path, current[path]):
                self._attempt(path, self._remove)
        for path in sorted(set(self._then) - self._skipped):
            if not self._is_left_alone(path):
                self._attempt(path, lambda path: self._restore(path, current.get(path)))
        for path in sorted(self._then, reverse=True):
            self._attempt(path, self._restore_time)

    def _attempt(self, path: str, act: Callable[[str], None]) -> None:
        try:
            act(path)
        except StepError as error:
            self.failed[path] = error.message
        except OSError as error:
            self.failed[path] = f"it cannot be restored: {os_words(error)}"

    def _is_ours(self, path: str, now: Entry) -> bool:
        """Whether a path that did not exist before has to be removed."""
        if any(covers(self._before["touched"], path)):
            return True
        if is_below(path, settings.ETC):
            return bool(self._before["wide"]) or (path in self._left and now["t"] != "file")
        if is_below(path, settings.VAR_LIB):
            by_tools = self._before["wide"] and has_kept_content(path)
            return by_tools or path in self._left or os.path.dirname(path) not in self._then
        return False

    def _remove(self, path: str) -> None:
        info = look_at(path)
        if info is None:
            return
        try:
            remove_entry(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            known = {**self.kept, **self.failed}
            if others_in(path) and not any(is_below(other, path) for other in known):
                self._occupied[path] = "it contains files that are not from this commit"

    def _is_left_alone(self, path: str) -> bool:
        """If only the agent changed files, only touched paths, links and folders are restored."""
        if is_live(path, self._before) and self._then[path]["t"] == "file":
            return True
        is_ours = self._before["wide"] or any(covers(self._before["touched"], path))
        return not is_ours and self._then[path]["t"] == "file"

    def _restore(self, path: str, now: Entry | None) -> None:
        was = self._then[path]
        if now is not None and same_stamp(now, was):
            return
        if now is not None and now["t"] != was["t"]:
            remove_tree(path)
            now = None
        if was["t"] == "file" and now is not None:
            is_unchanged = now["s"] == was["s"] and hash_of(path) == was.get("h")
            if is_unchanged:
                change_attributes(path, was)
                return
        if was["t"] == "directory" and now is not None:
            if not same_meta(now, was):
                change_attributes(path, {key: value for key, value in was.items() if key != "n"})
            return
        if was["t"] == "link" and now is not None and now["to"] == was["to"]:
            change_attributes(path, was)
            return
        self._make(path, was, self._images)

    def _make(self, path: str, entry: Entry, images: Images) -> None:
        """Create `path` as described by `entry`."""
        kind = entry["t"]
        if kind == "file":
            if not images.has(entry.get("h")):
                raise StepError("its content was not kept")
            replace_file(path, lambda descriptor: images.write(entry["h"], descriptor), entry)
        elif kind == "directory":
            make_folder(path, entry)
        elif kind == "link":
            replace_link(path, entry["to"], entry)
        elif kind == "fifo":
            make_fifo(path, entry)
        elif kind != "socket":  # the service that listens on a socket creates it
            raise StepError("a device cannot be restored")

    def _restore_time(self, path: str) -> None:
        """Restore the time of a folder that contains the same names again."""
        was = self._then[path]
        if was["t"] != "directory" or path in self._skipped:
            return
        info = look_at(path)
        if info is None or info.st_mtime_ns == was["n"] or not stat.S_ISDIR(info.st_mode):
            return
        if names_hash(path) == was["k"]:
            restore_time(path, was["n"])


def left_by(
    then: Manifest, after: Json | None, start: Manifest, written: dict[str, list[str]]
) -> Manifest:
    """The manifest as the apply left it. After an interrupted apply it is the present one, except
    for files with neither their former content nor one that was `written` to them."""
    if after is not None:
        gone = set(after["gone"])
        left = {path: entry for path, entry in then.items() if path not in gone}
        left.update(after["changed"])
        return left
    left = dict(start)
    for path, names in written.items():
        now = start.get(path)
        if now is not None and now["t"] == "file":
            found = content_hash(path, now, None)
            if found not in (*names, then.get(path, {}).get("h")):
                left[path] = {**now, "n": None, "h": names[-1]}
    return left


def texts_of(path: str, changes: list[Json], before: Json) -> Json:
    """The content of a kept file before the commit and now, if the plan allows showing it."""
    known = {change["resource_id"].partition(":")[2]: change for change in changes}
    if path not in known or known[path].get("secret"):
        return {}
    was = before["manifest"].get(path)
    texts: Json = {}
    images = Images(settings.IMAGES, before["images"])
    try:
        former = images.read(was["h"]) if was else None
        now = b"".join(chunks_of(path)) if look_at(path) else None
    except (StepError, OSError, KeyError):
        return {}
    for key, content in (("former_b64", former), ("now_b64", now)):
        if content is not None and (len(content) > SHOWN_BYTES or b"PRIVATE KEY" in content):
            return {}
        texts[key] = to_b64(content) if content is not None else None
    return texts
