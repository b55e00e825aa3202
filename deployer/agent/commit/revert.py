"""The revert of one commit."""

from __future__ import annotations

import os
import time

from deployer.agent import settings
from deployer.agent.children import CHILD_ENVIRONMENT, Children, end_leftovers
from deployer.agent.commit.handlers import run_handler
from deployer.agent.commit.journal import Journal, read_journal
from deployer.agent.commit.manifest import is_below
from deployer.agent.commit.plan import difference_of, probe_request
from deployer.agent.commit.put_back import PutBack, left_by, texts_of
from deployer.agent.commit.state_folder import note
from deployer.agent.commit.undone import Undone
from deployer.agent.commit.watchdog import Keeper, watchdog_of
from deployer.agent.errors import Refusal, StepError, check_name, os_words
from deployer.agent.files import (
    now_text,
    read_json,
    read_record,
    remove_tree,
    sync_folder,
)
from deployer.agent.kinds import PATH_KINDS
from deployer.agent.loaded import Loading, has_loaded, is_as_before, is_reload_for, with_because
from deployer.agent.observe import user_attributes
from deployer.agent.owed import note_owed, settle_owed
from deployer.agent.packages import Apt, package_states
from deployer.agent.probe import Probe
from deployer.agent.services import Systemd
from deployer.agent.settings import RESERVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from deployer.agent.commit.states import CommitEvent
    from deployer.agent.session import Reporter
    from deployer.agent.settings import Json, Manifest


class Revert:
    """Reverts one commit, in reverse order, and reports what it could not restore."""

    def __init__(
        self,
        session: Reporter,
        commit: str,
        why: str,
        *,
        event: CommitEvent = "revert",
        on_end: Callable[[Json], None] | None = None,
    ) -> None:
        """With `event` ``boot``, services are not waited for: they start after the revert.

        `on_end` gets the result before the watchdog is disarmed.
        """
        self._session = session
        self._on_end = on_end
        self._event = event
        self._is_booting = event == "boot"
        self._is_damaged = False
        self._children = Children(lambda: False)  # nothing interrupts a revert
        self._state = session.state
        self._commit = check_name(commit)
        self._why = why
        self._handlers: list[Json] = []
        self._systemd = Systemd(self._children)
        self._failed: list[Json] = []
        self._n = 0
        self._total = 0
        self._undone: Undone | None = None  # after a retry, still what the apply had made

    def run(self) -> Json:
        """Claim the commit and revert it.

        Raises:
            Refusal: it is not pending, or a different run holds the lock.
        """
        folder = self._claim()
        self._watchdog = watchdog_of(read_json(os.path.join(folder, "meta.json")) or {})
        keeper = Keeper()
        try:
            kept = self._persist(folder)
        finally:
            keeper.stop()
        return self._end(folder, kept)

    def _claim(self) -> str:
        self._state.make()
        self._state.lock({"who": "a revert", "from": os.uname().nodename})
        try:
            folder = self._state.claim(self._commit, self._event)
            note(folder, state="reverting", why=self._why)
            sync_folder(settings.STATE)
        except Refusal:
            if self._state.under_way() is None:
                self._state.unlock()
            raise
        except OSError:
            folder = self._state.reverting
            if not os.path.isdir(folder):
                self._state.unlock()
                raise
        try:
            remove_tree(os.path.join(folder, RESERVE))
        except OSError:
            pass
        return folder

    def _persist(self, folder: str) -> dict[str, str]:
        """Revert, and retry what may fail only temporarily."""
        kept: dict[str, str] = {}
        for pause_s in (0.0, 0.3, 1.5):
            time.sleep(pause_s)
            self._failed.clear()
            self._n = 0
            try:
                if self._session.made_commit != self._commit:
                    end_leftovers(self._commit)
                self._children.commit = self._commit
                if not self._is_read(folder):
                    break
                kept = self._back(folder)
            except StepError as error:
                self._failed.append({"resource_id": "revert", "message": error.message})
            except OSError as error:
                message = f"{error.filename or settings.STATE}: {os_words(error)}"
                self._failed.append({"resource_id": "revert", "message": message})
            if not self._failed:
                break
        return kept

    def _is_read(self, folder: str) -> bool:
        """Whether the records of the apply are intact; otherwise nothing is changed."""
        try:
            self._read(folder)
        except StepError as error:
            words = f"{error.message}; nothing was changed, and {folder} is left for inspection"
            self._failed.append({"resource_id": "journal", "message": words})
            self._is_damaged = True
        return not self._is_damaged

    def _read(self, folder: str) -> None:
        """Load the records of the apply; each must match the journal."""
        journal = read_journal(folder)
        self._journal = Journal(folder, self._commit)
        self._journal.try_to_write("revert", why=self._why)
        self._before = read_record(folder, "before.json", journal[0].get("before"))
        plan = read_record(folder, "plan.json", journal[0].get("plan"))
        applied = [event for event in journal if event["event"] == "applied"]
        self._after = (
            read_record(folder, "after.json", applied[-1].get("after")) if applied else None
        )
        begun = {event.get("resource_id") for event in journal if event["event"] == "intent"}
        ran = {event.get("name") for event in journal if event["event"] == "handler"}
        self._changes = [c for c in plan["changes"] if c["resource_id"] in begun][::-1]
        self._begun = begun
        self._handled = {event.get("name") for event in journal if event["event"] == "handled"}
        self._handlers = [
            with_because(run)
            for run in plan["handlers"]
            if run["handler"]["name"] in ran or is_reload_for(run, begun)
        ]
        self._every_unit: dict[str, Json] = self._before["units"]
        self._total = len(self._changes) + len(self._handlers)

    def _back(self, folder: str) -> dict[str, str]:
        """The revert itself; returns what was kept, and why."""
        written: dict[str, list[str]] = {}  # a path may have one content per stage
        for change in self._changes:
            if change["after"] and "sha256" in change["after"]:
                path = change["resource_id"].partition(":")[2]
                written.setdefault(path, []).append(change["after"]["sha256"])
        then: Manifest = self._before["manifest"]
        put_back = PutBack(
            self._before, lambda start: left_by(then, self._after, start, written), folder
        )
        self._undone = self._undone or Undone(self._session, self._children, self._changes)
        self._stop_services()
        self._journal.try_to_write("services-stopped")
        if self._before["packages"] is not None:
            self._change_packages()
            self._try("packages", put_back.give_back_foreign)
            self._journal.try_to_write("packages-back")
        put_back.run()
        is_late = bool(put_back.failed)  # services that start below may read files of the commit
        self._remove_users()
        self._say("command", "user", *PATH_KINDS)
        self._journal.try_to_write("files-back")
        self._start_services()
        self._say("service")
        self._run_handlers()
        self._journal.try_to_write("services-back")
        put_back.run()  # programs that ran above may have changed files again
        self._failed += [
            {"resource_id": path, "message": why} for path, why in put_back.all_failed().items()
        ]
        if is_late and not self._failed:
            message = "services may have read files before these were restored"
            self._failed.append({"resource_id": "revert", "message": message})
        kept = put_back.all_kept()
        self._look_again(kept)
        self._journal.try_to_write("looked-again", failed=len(self._failed))
        return kept

    def _try(self, resource_id: str, act: Callable[[], object]) -> bool:
        """Whether it succeeded; a failure is noted."""
        try:
            act()
            return True
        except StepError as error:
            message = f"{error.message}\n{error.output}"
            self._failed.append({"resource_id": resource_id, "message": message.strip()})
        except OSError as error:
            self._failed.append({"resource_id": resource_id, "message": str(error)})
        return False

    def _say(self, *kinds: str) -> None:
        """Report those changes of some kinds that are reverted."""
        assert self._undone is not None  # noqa: S101 - for mypy
        self._n = self._undone.say(kinds, after=self._n, total=self._total)

    # services

    def _stop_services(self) -> None:
        for unit, was in reversed(list(self._every_unit.items())):
            if was.get("ActiveState") not in ("active", "reloading", "activating"):
                self._try("service:" + unit, lambda unit=unit: self._stop(unit))  # type: ignore[misc]

    def _stop(self, unit: str) -> None:
        shown = self._systemd.show([unit])[unit]
        is_due = self._is_booting and shown.get("LoadState") == "loaded"  # its start is queued
        if is_due or shown.get("ActiveState") in _RUNNING_OR_ON_ITS_WAY:
            self._systemd.act("stop", unit)

    def _start_services(self) -> None:
        """After the files: systemd reloads its units, and former services run again."""
        if not os.path.isdir(settings.SYSTEMD_RUNS):
            return
        if self._before["wide"] or self._every_unit or self._has_unit_files():
            self._try("systemd", self._systemd.reload_units)
        for unit, was in self._every_unit.items():
            if was.get("ActiveState") in ("active", "reloading"):
                self._try("service:" + unit, lambda unit=unit: self._start(unit))  # type: ignore[misc]
            elif was.get("ActiveState") != "failed":
                self._children.run(["systemctl", "reset-failed", unit])

    def _run_handlers(self) -> None:
        """Run the handlers of the apply again, now with the former files."""
        if not os.path.isdir(settings.SYSTEMD_RUNS):
            return
        for handler in self._handlers:
            self._n += 1
            if self._is_spared(handler) or not self._concerns(handler):
                continue
            resource_id = "handler:" + handler["name"]
            self._session.step(self._n, self._total, resource_id, handler["action"])
            if self._try(resource_id, lambda handler=handler: self._handle(handler)):  # type: ignore[misc]
                self._session.step(
                    self._n, self._total, resource_id, handler["action"], seconds=0.0
                )

    def _has_unit_files(self) -> bool:
        return any("/systemd/" in change["resource_id"] for change in self._changes)

    def _start(self, unit: str) -> None:
        if self._is_booting:
            self._children.succeed(["systemctl", "start", "--no-block", unit])
        elif not self._systemd.active(unit):
            # A failed unit, such as Apache after a bad reload, may have reached its start limit.
            self._children.run(["systemctl", "reset-failed", unit])
            self._systemd.start(unit)

    def _concerns(self, handler: Json) -> bool:
        """Whether there is anything for a handler to do, now that the files are the former ones."""
        if handler["action"] == "run":
            return not self._was_brought(handler["argv"][0])
        if self._is_booting:
            return False  # at boot, units start later, with the former files
        was = self._every_unit.get(handler.get("unit", ""), {})
        # A unit that was not running before has been stopped already.
        return was.get("ActiveState") in ("active", "reloading")

    def _handle(self, handler: Json) -> None:
        unit = handler.get("unit", "")
        if handler["action"] == "run":
            run_handler(self._children, handler)
            return
        loading = Loading(self._systemd, handler)
        try:
            if handler["action"] == "reload":
                self._systemd.reload(unit)
            elif handler["action"] == "restart":
                self._systemd.act("restart", unit)
                self._systemd.must_be_active(unit, "restart")
        except StepError as error:
            if is_as_before(self._children, handler, self._commit):
                return  # it had not loaded the former files before the commit either
            test = handler.get("config_test")
            if test and self._children.run(list(test))[0] != 0:
                raise  # the former files fail too: a restart would stop what still runs
            words = f"{error.message}; restarting {unit} as a last resort\n"
            self._session.event("output", text=words)
            self._systemd.act("restart", unit)
            self._systemd.must_be_active(unit, "restart")
        loading.done()
        settle_owed(handler)

    def _is_spared(self, handler: Json) -> bool:
        """Whether a reload that the apply had not reached is unnecessary."""
        if self._is_booting or handler["action"] != "reload" or handler["name"] in self._handled:
            return False
        if has_loaded(self._children, handler):
            return True  # it has not read the files of the commit
        is_ours = not self._begun.isdisjoint(handler["because"])
        # What it has not loaded now, it had not loaded before the commit either.
        return not is_ours and is_as_before(self._children, handler, self._commit)

    def _was_brought(self, program: str) -> bool:
        """Whether a handler's program was removed with its package."""
        folders = [""] if "/" in program else os.get_exec_path({"PATH": _SEARCH_PATH})
        found = [os.path.join(folder, program) for folder in folders]
        return not any(os.access(path, os.X_OK) for path in found)

    # packages and users

    def _change_packages(self) -> None:
        was = {name: tuple(state) for name, state in self._before["packages"].items()}
        left = (self._after or {}).get("packages") or package_states()
        now = package_states()
        ours = [
            name
            for name, (state, _) in now.items()
            if name in left
            and state not in ("not-installed", was.get(name, ("", ""))[0])
            and was.get(name, ("", ""))[0] != "installed"
        ]
        apt = Apt(self._children, lambda text: self._session.event("output", text=text))
        had_files = [name for name in ours if was.get(name, ("", ""))[0] == "config-files"]
        new = [name for name in ours if name not in had_files]
        if new:
            self._try("packages", lambda: apt.purge(new, ours))
        if had_files:
            self._try("packages", lambda: apt.remove(had_files))
        former = {
            name: version
            for name, (state, version) in was.items()
            if state == "installed" and now.get(name) != (state, version)
        }
        if former:
            self._try("packages", lambda: apt.install(former))
        present = package_states()
        self._try("packages", lambda: apt.mark(self._before["automatic"], present))
        self._say("package")

    def _remove_users(self) -> None:
        """Users disappear with the former /etc/passwd; otherwise they are removed by userdel(8)."""
        for change in self._changes:
            kind, _, name = change["resource_id"].partition(":")
            if kind == "user" and change["action"] == "create" and user_attributes(name):
                self._try(
                    change["resource_id"],
                    lambda name=name: self._remove_user(name),  # type: ignore[misc]
                )

    def _remove_user(self, name: str) -> None:
        self._children.succeed(["userdel", name])

    # the final probe

    def _look_again(self, kept: dict[str, str]) -> None:
        """Probe whether everything is as the plan had found it."""
        found = Probe(self._children).observe([probe_request(change) for change in self._changes])
        reported = {item["resource_id"] for item in self._failed}
        for change, now in zip(self._changes, found):
            name = change["resource_id"].partition(":")[2]
            if (
                now["fingerprint"] == change["fingerprint"]
                or {name, change["resource_id"]} & reported
            ):
                continue
            if self._is_booting and _is_enabled_as(change["before"], now["attributes"]):
                continue
            if not any(is_below(path, name) for path in kept):
                words = difference_of(change["before"], now["attributes"])
                words = words or "it differs from its former state"
                if change["resource_id"].startswith("command:"):
                    words = "the effects of a command cannot be reverted"
                self._failed.append({"resource_id": change["resource_id"], "message": words})

    def _end(self, folder: str, kept: dict[str, str]) -> Json:
        self._note_owed(folder)
        shown = [
            {"path": path, "why": why, **texts_of(path, self._changes, self._before)}
            for path, why in sorted(kept.items())
        ]
        result = {
            "commit": self._commit,
            "state": "revert-failed" if kept or self._failed else "reverted",
            "kept": shown,
            "failed": self._failed,
            "certificates_kept": self._kept_for_good(folder),
        }
        about = {
            **result,
            "kept": [{"path": item["path"], "why": item["why"]} for item in shown],
            "why": self._why,
            "ended": now_text(),
            "generation": None,
        }
        try:
            if not self._failed:
                self._close(folder, about)
        except OSError as error:
            message = (
                f"its end cannot be recorded: {error.filename or settings.STATE}: {os_words(error)}"
            )
            self._failed.append({"resource_id": "revert", "message": message})
            result["state"] = about["state"] = "revert-failed"
        if self._on_end:
            self._on_end(result)
        if self._failed:
            self._keep_for_another_try(folder, about)
        elif self._watchdog:
            self._watchdog.disarm()
        self._state.unlock()
        return result

    @staticmethod
    def _kept_for_good(folder: str) -> list[str]:
        """The certificates that were issued for the commit: the next one can use them."""
        try:
            events = read_journal(folder)
        except StepError:
            return []
        return [event["what"] for event in events if event["event"] == "kept-for-good"]

    def _note_owed(self, folder: str) -> None:
        reported = {item["resource_id"] for item in self._failed}
        failed = [each for each in self._handlers if "handler:" + each["name"] in reported]
        self._try_to(lambda: note_owed(failed, folder))

    def _close(self, folder: str, about: Json) -> None:
        """The commit has ended: leave a record, and its journal too if files were kept."""
        note(folder, **about)
        sync_folder(folder)
        if about["kept"]:
            os.rename(folder, os.path.join(self._state.reverted, self._commit))
        else:
            record = os.path.join(self._state.reverted, self._commit + ".json")
            remove_tree(record + ".new")
            os.link(os.path.join(folder, "meta.json"), record + ".new")
            os.rename(record + ".new", record)
            sync_folder(self._state.reverted)
            gone = os.path.join(settings.STATE, "gone-" + self._commit)
            os.rename(folder, gone)
            self._try_to(lambda: remove_tree(gone))
        self._try_to(lambda: sync_folder(self._state.reverted))
        self._try_to(lambda: sync_folder(settings.STATE))
        self._try_to(self._state.prune_images)

    @staticmethod
    def _try_to(act: Callable[[], None]) -> None:
        """Do something that the next run can do as well."""
        try:
            act()
        except OSError:
            pass

    def _keep_for_another_try(self, folder: str, about: Json) -> None:
        """Leave the commit in place for a retry by the watchdog or the user."""
        tries = int((read_json(os.path.join(folder, "meta.json")) or {}).get("tries", 0)) + 1
        self._try_to(lambda: note(folder, **about, tries=tries))
        self._try_to(lambda: remove_tree(os.path.join(folder, "edits.json")))  # to compare again
        if self._watchdog and not (self._is_damaged or self._watchdog.arm_again(tries)):
            self._is_damaged = True
        if self._watchdog and self._is_damaged:
            self._watchdog.disarm()


_RUNNING_OR_ON_ITS_WAY = ("active", "reloading", "activating", "deactivating")


def _is_enabled_as(before: Json | None, now: Json | None) -> bool:
    """Whether a service that starts later in this boot is enabled as `before`."""
    if before is None or now is None or "enabled" not in before:
        return False
    return bool(before["enabled"] == now["enabled"])


_SEARCH_PATH = CHILD_ENVIRONMENT["PATH"]
