"""Before the first change: write everything that a revert needs, and arm the watchdog."""

from __future__ import annotations

import errno
import os
import time

from deployer.agent import settings
from deployer.agent.commit.images import ImageWriter, known_images
from deployer.agent.commit.journal import Journal
from deployer.agent.commit.managed import MANAGED, managed_after
from deployer.agent.commit.manifest import (
    LEFT_BY_PURGES,
    folders_above,
    has_kept_content,
    manifest_of,
)
from deployer.agent.commit.plan import covers, units_of
from deployer.agent.commit.rollback import VERIFICATION, rollback_after
from deployer.agent.commit.watchdog import Watchdog, watchdog_of
from deployer.agent.encoding import canonical_json, sha256
from deployer.agent.errors import Refusal, StepError, os_words
from deployer.agent.files import (
    look_at,
    now_text,
    read_json,
    remove_tree,
    sync_folder,
    write_synced,
)
from deployer.agent.kinds import ADDED_KINDS, PATH_KINDS, added_kind
from deployer.agent.packages import PACKAGE_MARGINS, automatic_packages, package_states
from deployer.agent.probe import as_list
from deployer.agent.processes import boot_id
from deployer.agent.services import Systemd
from deployer.agent.settings import RESERVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from deployer.agent.session import Session
    from deployer.agent.settings import Json, Manifest

KEPT_GENERATIONS = 10


class Preparation:
    """The records and the watchdog of a commit that is about to begin."""

    def __init__(self, session: Session, request: Json, changes: list[Json]) -> None:
        self._session = session
        self._children = session.children
        self._state = session.state
        self._plan: Json = request["plan"]
        self._commit: Json = request["commit"]
        self._changes = changes
        self._handlers: list[Json] = self._plan["handlers"]
        self.is_watched = settings.WATCHDOG and self._commit.get("watchdog", True) is not False
        self._watchdog: Watchdog | None = None
        self._reserve_bytes = 0
        self._manifest: Manifest = {}
        self._index: dict[str, list[Any]] = {}

    def run(self) -> Manifest:
        """Write the records and begin the commit; returns the present manifest.

        Raises:
            Refusal: nothing was changed.
        """
        touched = self._touched()
        self._manifest = manifest_of(touched)
        wide = self._is_wide()
        kept = [
            path
            for path, entry in self._manifest.items()
            if entry["t"] == "file"
            and ((wide and has_kept_content(path)) or any(covers(touched, path)))
        ]
        self._reserve_bytes = self._space_to_revert(kept)
        image_bytes = sum(self._manifest[path]["s"] for path in kept)
        self._refuse_if_full(image_bytes)
        folder = os.path.join(settings.STATE, "new-" + self._commit["id"])
        try:
            os.mkdir(folder, 0o700)
            self._write_images(kept)
            self._write_records(folder, touched, wide)
            self._reserve(folder)
            sync_folder(folder)
            self._arm(folder)
            os.rename(folder, self._state.pending)
            sync_folder(settings.STATE)
        except Refusal:
            self._withdraw(folder)
            raise
        except (StepError, OSError) as error:
            self._withdraw(folder)
            raise self.not_begun(error, image_bytes) from None
        return self._manifest

    def _refuse_if_full(self, image_bytes: int) -> None:
        needed: dict[int, list[Any]] = {}

        def add(folder: str, size: int) -> None:
            while not os.path.isdir(folder):
                folder = os.path.dirname(folder)
            entry = needed.setdefault(os.stat(folder).st_dev, [folder, 0])
            entry[1] += size

        add(settings.STATE, image_bytes + self._reserve_bytes + (2 << 20))
        for change in self._changes:
            if "after_content_b64" in change:
                size = len(change["after_content_b64"]) * 3 // 4
                add(os.path.dirname(change["resource_id"].partition(":")[2]), size + 4096)
        if any(
            c["resource_id"].startswith("package:") and c["after"] is not None
            for c in self._changes
        ):
            for folder, margin in PACKAGE_MARGINS.items():
                add(folder, margin)
        for folder, size in needed.values():
            space = os.statvfs(folder)
            free = (space.f_bfree if os.geteuid() == 0 else space.f_bavail) * space.f_frsize
            if free < size or (space.f_files and space.f_ffree < 2 * len(self._changes) + 16):
                raise Refusal(
                    "no-space",
                    f"the file system of {folder} has {free} bytes free, but {size} are needed",
                    path=folder,
                    needed_bytes=size,
                    free_bytes=free,
                )

    def _withdraw(self, folder: str) -> None:
        """Remove the traces of a commit that did not begin."""
        if os.path.isdir(self._state.pending):
            try:
                os.rename(self._state.pending, folder)
            except OSError:
                return  # the watchdog reverts it, and finds nothing changed
        if self._watchdog:
            self._watchdog.disarm()
        try:
            remove_tree(folder)
            for ending in (".json", ".pack"):
                remove_tree(os.path.join(settings.IMAGES, self._commit["id"] + ending))
        except OSError:
            pass  # the next run removes it

    def not_begun(self, error: StepError | OSError, image_bytes: int) -> Refusal:
        if isinstance(error, StepError):
            return Refusal("not-begun", error.message, output=error.output)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not os.path.isdir(settings.STATE):
            return Refusal("not-begun", f"{settings.STATE} is not writable: {os_words(error)}")
        free = os.statvfs(settings.STATE)
        return Refusal(
            "no-space",
            f"not enough space for the before-images in {settings.STATE}",
            path=settings.STATE,
            needed_bytes=image_bytes + self._reserve_bytes,
            free_bytes=free.f_bavail * free.f_frsize,
        )

    def _space_to_revert(self, kept: list[str]) -> int:
        """The disk space that a revert needs at most: a second copy of a file, its own records, and
        what dpkg writes when it removes packages."""
        largest = max((self._manifest[path]["s"] for path in kept), default=0)
        with_packages = any(c["resource_id"].startswith("package:") for c in self._changes)
        return largest + (1 << 20) + (PACKAGE_MARGINS["/var/lib/dpkg"] if with_packages else 0)

    def _reserve(self, folder: str) -> None:
        """Reserve that space now, so that a disk that fills up cannot prevent the revert."""
        path = os.path.join(folder, RESERVE)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._reserve_bytes)
        finally:
            os.close(descriptor)

    def _arm(self, folder: str) -> None:
        self._watchdog = watchdog_of(read_json(os.path.join(folder, "meta.json")) or {})
        if self._watchdog is None:
            return
        try:
            self._watchdog.arm(os.path.join(folder, settings.COMMIT_PROGRAM))
        except StepError as error:
            raise Refusal(
                "no-watchdog",
                f"the watchdog cannot be armed: {error.message}",
                output=error.output,
            ) from None

    def _touched(self) -> dict[str, bool]:
        """The paths that steps write to; true if everything below belongs to the path."""
        touched: dict[str, bool] = {}
        for change in self._changes:
            touched.update(_touched_by(change))
        if any(change["resource_id"].startswith("package:") for change in self._changes):
            touched.update({path: True for path in LEFT_BY_PURGES if look_at(path) is None})
        for path in list(touched):  # a revert removes new folders with their contents
            missing = [folder for folder in folders_above(path) if look_at(folder) is None]
            if missing:
                touched[missing[0]] = True
        return touched

    def _is_wide(self) -> bool:
        """Whether programs other than the agent change files."""
        kinds = {change["resource_id"].partition(":")[0] for change in self._changes}
        runs = any(run["handler"]["action"] == "run" for run in self._handlers)
        return runs or bool(kinds & {"package", "user", "command"})

    def _write_images(self, paths: list[str]) -> None:
        pack = os.path.join(settings.IMAGES, self._commit["id"] + ".pack")
        remove_tree(pack)  # from a run that died before its first change
        images = ImageWriter(pack, known_images())
        try:
            for path in paths:
                try:
                    self._manifest[path]["h"] = images.add(path)
                except FileNotFoundError:
                    del self._manifest[path]
        finally:
            images.close()
        self._index = images.index
        own = {name: place for name, place in self._index.items() if place[0] == images.name}
        if own:
            write_synced(pack[: -len("pack")] + "json", canonical_json(own))
        else:
            os.unlink(pack)
        sync_folder(settings.IMAGES)

    def _write_records(self, folder: str, touched: dict[str, bool], wide: bool) -> None:
        with_packages = any(c["resource_id"].startswith("package:") for c in self._changes)
        before = canonical_json(
            {
                "touched": touched,
                "wide": wide,
                "manifest": self._manifest,
                "images": self._index,
                "packages": package_states() if with_packages else None,
                "automatic": automatic_packages() if with_packages else [],
                "units": self._units(),
            }
        )
        plan = {
            "changes": [
                {
                    **{key: value for key, value in change.items() if key != "after_content_b64"},
                    **_paths_of_added(change),
                }
                for change in self._changes
            ],
            "handlers": self._handlers,
        }
        plan_text = canonical_json(plan)
        write_synced(os.path.join(folder, "before.json"), before)
        write_synced(os.path.join(folder, "plan.json"), plan_text)
        write_synced(os.path.join(folder, "meta.json"), canonical_json(self._meta()))
        managed = managed_after(self._state, self._commit, self._plan)
        write_synced(os.path.join(folder, MANAGED), canonical_json(managed))
        if "verification" in self._commit:
            verification = canonical_json(self._commit["verification"])
            write_synced(os.path.join(folder, VERIFICATION), verification)
        write_synced(os.path.join(folder, settings.COMMIT_PROGRAM), self._session.program)
        journal = Journal(folder, self._commit["id"])
        try:
            journal.write(
                "begin",
                commit=self._commit["id"],
                before=sha256(before).hexdigest(),
                plan=sha256(plan_text).hexdigest(),
                watched=self.is_watched,
            )
        finally:
            journal.close()

    def _meta(self) -> Json:
        """The record of the commit."""
        commit = self._commit
        duration_s = float(commit.get("rollback_duration_s") or 0)
        deadline = time.gmtime(time.time() + duration_s)
        makes_wants = look_at(settings.BOOT_WANTS) is None
        return {
            "commit": commit["id"],
            "time": now_text(),
            "who": commit.get("who", ""),
            "from": commit.get("from", ""),
            "digest": self._plan.get("digest", ""),
            "changes": [
                {"resource_id": change["resource_id"], "action": change["action"]}
                for change in self._changes
                if change["action"] != "no-op"
            ],
            "sites": commit.get("sites", []),
            "rolls_back_to": commit.get("rolls_back_to"),
            "purpose": str(commit.get("purpose") or ""),
            "rollback": rollback_after(self._state, commit, self._plan),
            "verified": [],
            "state": "pending",
            "generation": None,
            "sequence": self._state.next_sequence(),
            "keep": int(commit.get("keep") or KEPT_GENERATIONS),
            "packs": sorted({place[0].rpartition(".")[0] for place in self._index.values()}),
            "deadline": time.strftime("%Y-%m-%dT%H:%M:%SZ", deadline),
            "rollback_duration_s": duration_s,
            "boot_id": boot_id(),
            "watchdog": {"makes_wants": makes_wants} if self.is_watched else None,
        }

    def _units(self) -> dict[str, Json]:
        """The present state of the units that the plan acts on."""
        units = units_of(self._changes, self._handlers)
        return Systemd(self._children).show(units) if units else {}


def _touched_by(change: Json) -> Iterator[tuple[str, bool]]:
    kind, _, name = change["resource_id"].partition(":")
    after = change["after"] or {}
    if kind in PATH_KINDS:
        yield name, change["action"] == "delete" or look_at(name) is None
        return
    made: list[str] = []
    if kind == "user" and change["action"] == "create":
        made = [after.get("home") or "/home/" + name, "/var/mail/" + name]
        made = [path for path in made if os.path.normpath(path) == path != "/"]
    elif kind == "command":
        folder = after.get("chdir") or "/"
        patterns = as_list(after.get("creates") or [])
        made = [os.path.normpath(os.path.join(folder, pattern)) for pattern in patterns]
        made = [path for path in made if not any(sign in path for sign in "*?[")]
    elif kind in ADDED_KINDS:
        yield from dict.fromkeys(added_kind(kind).paths(name), True).items()
    for path in made:
        if look_at(path) is None:
            yield path, True


def _paths_of_added(change: Json) -> Json:
    """The paths of an added kind, so that the records are complete in themselves."""
    kind, _, name = change["resource_id"].partition(":")
    return {"paths": added_kind(kind).paths(name)} if kind in ADDED_KINDS else {}
