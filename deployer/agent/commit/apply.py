"""An apply, from its checks to the commit that waits for confirmation."""

from __future__ import annotations

import os
import time

from deployer.agent import settings
from deployer.agent.commit.handlers import run_handler
from deployer.agent.commit.journal import Journal
from deployer.agent.commit.plan import check_plan, difference_of, probe_request
from deployer.agent.commit.prepare import Preparation
from deployer.agent.commit.put_back import after_record, read_before
from deployer.agent.commit.revert import Revert
from deployer.agent.commit.started import StartedServices
from deployer.agent.commit.steps import Steps
from deployer.agent.commit.watchdog import Keeper
from deployer.agent.encoding import canonical_json, sha256
from deployer.agent.errors import ConfigTestError, Gone, Refusal, StepError, check_name, os_words
from deployer.agent.files import (
    sync_folder,
    write_synced,
)
from deployer.agent.loaded import note_loaded_before, with_because
from deployer.agent.packages import Apt
from deployer.agent.probe import Probe
from deployer.agent.proxies import BY_UNIT
from deployer.agent.services import Systemd, service_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployer.agent.session import Session
    from deployer.agent.settings import Json

#: How long the controller may take to ask the services that the plan starts.
PREFLIGHT_LIMIT_S = 120.0


class Apply:
    """One apply: checks, preparation, changes, and the final probe."""

    def __init__(self, session: Session, request: Json) -> None:
        self._session = session
        self._children = session.children
        self._state = session.state
        self._plan: Json = request["plan"]
        self._commit: Json = request["commit"]
        self._probe = Probe(session.children)
        check_name(self._commit["id"])
        check_plan(self._plan)
        self._changes = list(_to_do(self._plan["changes"]))
        self._handlers: list[Json] = self._plan["handlers"]
        planned = [change for change in self._changes if change["action"] != "no-op"]
        self._total = len(planned) + len(self._handlers)
        self._n = 0
        self._doing = ""  # the current resource or handler
        self._children.commit = session.made_commit = self._commit["id"]
        self._preparation = Preparation(session, request, self._changes)

    def run(self) -> Json:
        """Carry the plan out, and leave the commit pending.

        Raises:
            Refusal: nothing was changed, or everything was reverted.
            Gone: the controller disconnected, and everything was reverted.
        """
        try:
            self._state.make()
            self._state.lock({key: self._commit.get(key, "") for key in ("who", "from")})
        except OSError as error:
            raise self._preparation.not_begun(error, 0) from None
        try:
            self._refuse_if_unwatched()
            self._refuse_if_under_way()
            self._refuse_if_stale()
            self._manifest = self._preparation.run()
        except BaseException:
            self._state.unlock()
            raise
        return self._carry_out()

    # 1. checks: nothing has been changed yet

    def _refuse_if_unwatched(self) -> None:
        if self._preparation.is_watched and not os.path.isdir(settings.SYSTEMD_RUNS):
            raise Refusal(
                "no-systemd",
                "systemd does not run on this host, so nothing could revert the commit "
                "if this run were interrupted",
            )

    def _refuse_if_under_way(self) -> None:
        going = self._state.under_way()
        if going is None:
            return
        words = {
            "pending": "is neither confirmed nor reverted",
            "reverting": "is partly reverted",
            "revert-failed": f"could not be reverted; see {self._state.reverting}",
        }[going["state"]]
        raise Refusal(
            "pending",
            "the commit {} of {} from {} {}".format(
                going["commit"], going["who"] or "someone", going["from"] or "somewhere", words
            ),
            **{key: going[key] for key in ("commit", "state", "who", "from", "time")},
        )

    def _refuse_if_stale(self) -> None:
        seen = [
            change
            for change in self._plan["changes"]
            if not (change["action"] == "no-op" and change["resource_id"].startswith("command:"))
        ]
        found = self._probe.observe([probe_request(change) for change in seen])
        stale = [
            change["resource_id"]
            for change, now in zip(seen, found)
            if change["fingerprint"] != now["fingerprint"]
        ]
        if stale:
            raise Refusal(
                "stale",
                "the host has changed since the plan was made: {}".format(", ".join(stale)),
                resource_ids=stale,
            )

    # 2. changes

    def _carry_out(self) -> Json:
        note_loaded_before(self._children, self._handlers, self._commit["id"])
        journal = Journal(self._state.pending, self._commit["id"])
        apt = Apt(self._children, lambda text: self._session.event("output", text=text))
        self._steps = Steps(self._children, apt, self._manifest, self._session)
        keeper = Keeper()
        try:
            sites = self._commit.get("sites", [])
            self._started = StartedServices(self._children, self._plan, sites)
            for stage in sorted({item["stage"] for item in self._changes + self._handlers}):
                self._change_all(journal, stage)
                self._handle_all(journal, stage)
            self._write_after(journal)
        except Gone:
            keeper.stop()
            self._revert(journal, "the controller went away during the apply")
            raise
        except StepError as error:
            keeper.stop()
            self._fail(journal, error)
        except OSError as error:
            keeper.stop()
            words = f"{error.filename or settings.STATE}: {os_words(error)}"
            self._fail(journal, StepError(words))
        except Exception as error:  # whatever it was, the host must be reverted
            keeper.stop()
            self._fail(journal, StepError(f"{type(error).__name__}: {error}"))
        finally:
            keeper.stop()
            journal.close()
        return {"commit": self._commit["id"], "state": "pending"}

    def _change_all(self, journal: Journal, stage: int) -> None:
        changes = [change for change in self._changes if change["stage"] == stage]
        for group in _groups(changes):
            self._doing = group[0]["resource_id"]
            if not self._holds_already(group[0]):
                self._step(journal, group)
        for change, problem in self._not_as_wanted(changes):
            self._doing = change["resource_id"]
            raise StepError(problem, self._last_words(self._doing))

    def _handle_all(self, journal: Journal, stage: int) -> None:
        handlers = [with_because(run) for run in self._handlers if run["stage"] == stage]
        if handlers:
            self._doing = ""
            self._started.check()  # a service that does not stay up must not cause a reload
            self._doing = "handler:" + handlers[0]["name"]
        self._steps.reload_units_if_changed()
        for handler in handlers:
            self._doing = "handler:" + handler["name"]
            self._test_config(handler)
            self._steps.check_before(handler["action"], handler.get("unit", ""))
        for number, handler in enumerate(handlers, 1):
            self._doing = "handler:" + handler["name"]
            self._ask_services(handler, handlers[number:], stage)
            self._handle(journal, handler)

    def _ask_services(self, handler: Json, later: list[Json], stage: int) -> None:
        """Let the controller ask the services that this plan may have started, before a running
        proxy sends clients to them."""
        unit = handler.get("unit", "")
        if not self._commit.get("preflight") or service_name(unit) not in BY_UNIT:
            return
        if self._starts_more(later, stage) or not Systemd(self._children).active(unit):
            return  # too early; or it serves no clients
        self._commit["preflight"] = False
        self._session.ask({"preflight": True}, limit_s=PREFLIGHT_LIMIT_S)

    def _starts_more(self, later: list[Json], stage: int) -> bool:
        """Whether the plan may still start services, with `later` handlers or after this stage."""
        changes = [change for change in self._changes if change["stage"] > stage]
        others = [run["handler"] for run in self._handlers if run["stage"] > stage]
        kinds = {change["resource_id"].partition(":")[0] for change in changes}
        return bool(kinds & {"service", "command", "package"}) or any(
            service_name(each.get("unit", "")) not in BY_UNIT for each in [*later, *others]
        )

    def _holds_already(self, change: Json) -> bool:
        """Whether a resource that was right before packages were installed still is."""
        if change["action"] != "no-op":
            return False
        (now,) = self._probe.observe([probe_request(change)])
        if not now.get("problem") and not difference_of(change["after"], now["attributes"]):
            return True
        self._total += 1
        return False

    def _step(self, journal: Journal, group: list[Json]) -> None:
        """One change, or several installs at once."""
        if self._session.channel.gone.is_set():
            raise Gone
        started = time.monotonic()
        for change in group:
            self._n += 1
            journal.write("intent", resource_id=change["resource_id"])
            self._session.step(self._n, self._total, change["resource_id"], change["action"])
        if group[0]["resource_id"].startswith("package:") and group[0]["after"] is not None:
            self._steps.install(group)
        else:
            self._steps.run(group[0])
        for words in self._session.kept:
            journal.write("kept-for-good", what=words)
        self._session.kept.clear()
        seconds = round(time.monotonic() - started, 3)
        for number, change in enumerate(group, self._n - len(group) + 1):
            journal.write("done", resource_id=change["resource_id"])
            self._session.step(
                number, self._total, change["resource_id"], change["action"], seconds=seconds
            )

    def _not_as_wanted(self, changes: list[Json]) -> Iterator[tuple[Json, str]]:
        """Probe the host again: the changes that did not take effect."""
        found = self._probe.observe([probe_request(change) for change in changes])
        for change, now in zip(changes, found):
            difference = now.get("problem") or difference_of(change["after"], now["attributes"])
            if difference:
                yield (
                    change,
                    f"it is not in the desired state after its change: {difference}",
                )

    def _last_words(self, resource_id: str) -> str:
        """The last messages of a service that is not running."""
        kind, _, name = resource_id.partition(":")
        return Systemd(self._children).last_words(name) if kind == "service" else ""

    def _test_config(self, handler: Json) -> None:
        if not handler.get("config_test"):
            return
        code, output = self._children.run(list(handler["config_test"]))
        if code != 0:
            words = " ".join(handler["config_test"])
            raise ConfigTestError(f"{words} rejects the configuration", output)

    def _handle(self, journal: Journal, handler: Json) -> None:
        if self._session.channel.gone.is_set():
            raise Gone
        self._n += 1
        started = time.monotonic()
        resource_id = "handler:" + handler["name"]
        journal.write("handler", name=handler["name"], unit=handler.get("unit", ""))
        self._session.step(self._n, self._total, resource_id, handler["action"])
        run_handler(self._children, handler)
        journal.write("handled", name=handler["name"])
        seconds = round(time.monotonic() - started, 3)
        self._session.step(self._n, self._total, resource_id, handler["action"], seconds=seconds)

    def _write_after(self, journal: Journal) -> None:
        """Record the state after the apply, so that a revert can distinguish later changes."""
        self._doing = ""
        self._started.check()
        self._started.record(self._state.pending)
        after = after_record(read_before(self._state.pending))
        text = canonical_json(after)
        write_synced(os.path.join(self._state.pending, "after.json"), text)
        sync_folder(self._state.pending)
        journal.write("applied", after=sha256(text).hexdigest())

    # 3. revert

    def _revert(self, journal: Journal, why: str) -> Json:
        journal.try_to_write("failed", why=why)
        return Revert(self._session, self._commit["id"], why).run()

    def _fail(self, journal: Journal, error: StepError) -> None:
        thing = self._doing.replace(":", " ", 1)  # without the colon of its ID
        words = f"{thing}: {error.message}" if thing else error.message
        reply = self._revert(journal, words)
        raise Refusal(
            error.code,
            words,
            resource_id=self._doing,
            output=error.output,
            revert=reply,
        ) from None


def _to_do(changes: list[Json]) -> Iterator[Json]:
    """The changes of a plan, and the no-ops after an install, which may affect them."""
    after_packages = False
    for change in changes:
        kind = change["resource_id"].partition(":")[0]
        if change["action"] != "no-op" or (after_packages and kind not in ("command", "package")):
            yield change
        after_packages = after_packages or (kind == "package" and change["action"] == "create")


def _groups(changes: list[Json]) -> Iterator[list[Json]]:
    """Single changes, but consecutive installs of packages together."""
    group: list[Json] = []
    for change in changes:
        if change["resource_id"].startswith("package:") and change["action"] == "create":
            group.append(change)
            continue
        if group:
            yield group
            group = []
        yield [change]
    if group:
        yield group
