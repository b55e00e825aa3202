"""The state folder: the lock, the unfinished commit, and the records of all others."""

from __future__ import annotations

import fcntl
import json
import os
import stat

from deployer.agent import settings
from deployer.agent.commit.states import FOLDERS, next_state
from deployer.agent.encoding import canonical_json
from deployer.agent.errors import Refusal, StepError
from deployer.agent.files import look_at, names_in, now_text, read_json, remove_tree, write_synced
from deployer.agent.processes import started_at
from deployer.agent.settings import BOOT_NAME, UNKNOWN_COMMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from deployer.agent.commit.states import CommitEvent
    from deployer.agent.settings import Json


def note(folder: str, **details: Any) -> None:
    """Add to a commit's ``meta.json``; a damaged one is kept next to it for inspection."""
    path = os.path.join(folder, "meta.json")
    meta = read_json(path)
    if meta is None:
        meta = {"commit": commit_of_journal(folder)}
        if look_at(path) is not None:
            os.rename(path, path + ".damaged")
    write_synced(path, canonical_json({**meta, **details}))


#: The keys of every record of the history, for commits whose records are damaged.
_EMPTY_RECORD: Json = {
    **dict.fromkeys(("who", "from", "time", "digest", "state"), ""),
    "changes": [],
    "verified": [],
    "generation": None,
    "sequence": 0,
}
#: How many records of reverted commits are kept.
KEPT_RECORDS = 200


class StateFolder:
    """``/var/lib/deployer``: the lock, the unfinished commit, and the records of all others."""

    def __init__(self) -> None:
        self.pending = os.path.join(settings.STATE, "pending")
        self.reverting = os.path.join(settings.STATE, "reverting")
        self.generations = os.path.join(settings.STATE, "generations")
        self.reverted = os.path.join(settings.STATE, "reverted")
        self.abandoned = os.path.join(settings.STATE, "abandoned")
        self._lock_fd: int | None = None

    def make(self) -> None:
        """Create the folders; the time of the parent folder is preserved."""
        if not os.path.isdir(settings.STATE):
            around = os.path.dirname(settings.STATE)
            info = os.stat(around)
            os.mkdir(settings.STATE, 0o700)
            os.utime(around, ns=(info.st_atime_ns, info.st_mtime_ns))
        if stat.S_IMODE(os.stat(settings.STATE).st_mode) != 0o700:
            os.chmod(settings.STATE, 0o700)
        for folder in (
            self.generations,
            self.reverted,
            self.abandoned,
            settings.IMAGES,
            settings.CACHE,
        ):
            if not os.path.isdir(folder):
                os.mkdir(folder, 0o700)

    # the lock

    def lock(self, holder: Json) -> None:
        """Take the lock for the lifetime of this process, or until `unlock`.

        Raises:
            Refusal: a different run holds it.
        """
        if self._lock_fd is not None:
            return
        path = os.path.join(settings.STATE, "lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            by = read_json(path) or {}
            who = "{} from {}".format(by.get("who", "someone"), by.get("from", "somewhere"))
            raise Refusal(
                "locked",
                "a different run is active on this host: {}, since {}".format(
                    who, by.get("since", "?")
                ),
                holder=who,
                since=by.get("since", ""),
                pid=by.get("pid"),
                started=by.get("started"),
            ) from None
        self._lock_fd = descriptor
        self._record_holder(holder)
        self._sweep()

    def _record_holder(self, holder: Json) -> None:
        """Record the holder of the lock; on a full disk only this information is lost."""
        about = {"since": now_text(), "pid": os.getpid(), "started": started_at(os.getpid())}
        try:
            os.ftruncate(self._lock_fd, 0)  # type: ignore[arg-type]
            os.pwrite(self._lock_fd, json.dumps({**holder, **about}).encode(), 0)  # type: ignore[arg-type]
        except OSError:
            pass

    def _sweep(self) -> None:
        """Remove what a run left that died before its first change or after its end.

        What cannot be removed now is left to the next run.
        """
        left = [
            os.path.join(settings.STATE, name)
            for name in os.listdir(settings.STATE)
            if name.startswith(("new-", "gone-", BOOT_NAME)) or name.endswith(".new")
        ]
        try:
            of_watchdog = (*settings.BOOT_UNIT_FILES, *settings.WATCHDOG_PROGRAMS)
            if self.under_way() is None and any(map(os.path.lexists, of_watchdog)):
                records = [read_json(os.path.join(path, "meta.json")) or {} for path in left]
                about = [record.get("watchdog") or {} for record in records + self.history()[:1]]
                makes_wants = any(item.get("makes_wants") for item in about)
                from deployer.agent.commit.watchdog import Watchdog

                Watchdog("any", duration_s=0, makes_wants=makes_wants).disarm(of_any=True)
            for path in left:
                remove_tree(path)
        except OSError:
            pass

    def unlock(self) -> None:
        if self._lock_fd is not None:
            try:
                os.ftruncate(self._lock_fd, 0)
            except OSError:
                pass
            os.close(self._lock_fd)
            self._lock_fd = None

    def holder(self) -> Json | None:
        """The holder of the lock; `None` if it is free, or held by this process."""
        if self._lock_fd is not None:
            return None
        path = os.path.join(settings.STATE, "lock")
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            by = read_json(path) or {}
            return {key: str(by.get(key, "")) for key in ("who", "from", "since")}
        finally:
            os.close(descriptor)
        return None

    # the unfinished commit

    def under_way(self) -> Json | None:
        """The commit that has not ended, according to its ``meta.json``."""
        for folder, state in ((self.pending, "pending"), (self.reverting, "reverting")):
            if not os.path.isdir(folder):
                continue
            meta = read_json(os.path.join(folder, "meta.json")) or {}
            if state == "reverting" and meta.get("state") == "revert-failed":
                state = "revert-failed"
            texts = ("who", "from", "time", "deadline", "why")
            lists = ("failed", "kept")
            return {
                "commit": meta.get("commit") or commit_of_journal(folder),
                "state": state,
                **{key: meta.get(key, "") for key in texts},
                **{key: meta.get(key, []) for key in lists},
                "watched": bool(meta.get("watchdog")),
            }
        return None

    def under_way_meta(self) -> Json:
        """The whole record of the unfinished commit."""
        for folder in (self.pending, self.reverting):
            meta = read_json(os.path.join(folder, "meta.json"))
            if meta is not None:
                return meta
        return {}

    def claim(self, commit: str, event: CommitEvent) -> str:
        """Move the unfinished commit to the state that `event` leads to; returns its folder.

        This is the one atomic rename that confirm, revert and deadline compete for.

        Raises:
            Refusal: `event` is not possible in the commit's state.
            OSError: the rename failed; nothing is decided then.
        """
        going = self.under_way()
        if going is None or going["commit"] != commit:
            raise self.not_pending(commit)
        state = next_state(going["state"], event)
        if state is None:
            raise self.not_pending(commit)
        source = os.path.join(settings.STATE, FOLDERS[going["state"]])
        if state == "confirmed":
            target = os.path.join(self.generations, str(self.last_generation() + 1))
        elif state == "abandoned":
            target = os.path.join(self.abandoned, commit)
        else:
            target = self.reverting
        try:
            os.rename(source, target)
        except FileNotFoundError:
            raise self.not_pending(commit) from None
        return target

    def not_pending(self, commit: str) -> Refusal:
        state = self.state_of(commit)
        return Refusal("not-pending", f"the commit {commit} is {state}", state=state)

    # all commits

    def last_generation(self) -> int:
        numbers = [int(name) for name in names_in(self.generations) if name.isdigit()]
        return max(numbers, default=0)

    def proxies(self) -> list[str]:
        """The proxies that serve the sites of the newest generation that has any."""
        return sorted({site["proxy"] for site in self.sites()})

    def sites(self) -> list[Json]:
        """The sites of the newest generation that has any."""
        numbers = [int(name) for name in names_in(self.generations) if name.isdigit()]
        for number in sorted(numbers, reverse=True):
            meta = read_json(os.path.join(self.generations, str(number), "meta.json")) or {}
            if meta.get("sites"):
                found: list[Json] = meta["sites"]
                return found
        return []

    def next_sequence(self) -> int:
        """The number of the next commit. It gives the order of commits, since clocks may jump."""
        return 1 + max((record.get("sequence", 0) for record in self.history()), default=0)

    def history(self) -> list[Json]:
        """The records of all commits, newest first."""
        records = []
        for folder in (self.generations, self.abandoned):
            for name in names_in(folder):
                records.append(read_json(os.path.join(folder, name, "meta.json")))
        for name in names_in(self.reverted):
            path = os.path.join(self.reverted, name)
            is_record = name.endswith(".json")
            records.append(read_json(path if is_record else os.path.join(path, "meta.json")))
        known = {record["commit"]: record for record in records if record and "commit" in record}
        going = self.under_way()
        if going is not None:
            known[going["commit"]] = {**self.under_way_meta(), **going, "generation": None}
        known = {commit: {**_EMPTY_RECORD, **record} for commit, record in known.items()}

        def age(record: Json) -> tuple[int, str, str]:
            return record.get("sequence", 0), record.get("time", ""), record["commit"]

        return sorted(known.values(), key=age, reverse=True)

    def last_ended(self) -> Json | None:
        """The newest commit, if it ended without being confirmed."""
        names = names_in(self.reverted) + names_in(self.abandoned)
        if not names:
            return None
        for record in self.history():
            if record["state"] in ("reverted", "revert-failed", "abandoned"):
                texts = ("commit", "who", "from", "time", "state", "why", "ended")
                kept = record.get("kept", [])
                return {**{key: record.get(key, "") for key in texts}, "kept": kept}
            break
        return None

    def state_of(self, commit: str) -> str:
        """The state of `commit`, or ``unknown``."""
        going = self.under_way()
        if going and going["commit"] == commit:
            return str(going["state"])
        for record in self.history():
            if record.get("commit") == commit:
                return str(record["state"])
        return "unknown"

    def prune(self, keep: int) -> None:
        """Keep the newest `keep` generations, and only the contents that something refers to."""
        numbers = sorted(int(name) for name in names_in(self.generations) if name.isdigit())
        for number in numbers[:-keep]:
            gone = os.path.join(settings.STATE, f"gone-{number}")
            os.rename(os.path.join(self.generations, str(number)), gone)
            remove_tree(gone)
        records = sorted(name for name in names_in(self.reverted) if name.endswith(".json"))
        for name in records[:-KEPT_RECORDS]:
            os.unlink(os.path.join(self.reverted, name))
        self.prune_images()

    def prune_images(self) -> None:
        """Remove packs that no commit needs; if a record cannot be read, all may be needed."""
        around = [os.path.join(self.generations, name) for name in names_in(self.generations)]
        for folder in (self.reverted, self.abandoned):
            around += [os.path.join(folder, name) for name in names_in(folder)]
        around += [self.pending, self.reverting]
        needed = set()
        for folder in around:
            if os.path.isdir(folder):
                meta = read_json(os.path.join(folder, "meta.json"))
                if meta is None or "packs" not in meta:
                    return
                needed.update(meta["packs"])
        for name in names_in(settings.IMAGES):
            if name.rpartition(".")[0] not in needed:
                os.unlink(os.path.join(settings.IMAGES, name))


def commit_of_journal(folder: str) -> str:
    """The commit whose journal is in `folder`, if its other records cannot be read."""
    from deployer.agent.commit.journal import read_journal

    try:
        return str(read_journal(folder)[0]["commit"])
    except StepError:
        return UNKNOWN_COMMIT
