"""How a commit ends without a revert: it is confirmed, or abandoned after a revert that failed."""

from __future__ import annotations

import os

from deployer.agent import settings
from deployer.agent.commit.started import Confirmation
from deployer.agent.commit.state_folder import note
from deployer.agent.commit.watchdog import watchdog_of
from deployer.agent.encoding import canonical_json
from deployer.agent.errors import Refusal, StepError, check_name, os_words
from deployer.agent.files import now_text, read_json, remove_tree, sync_folder, write_synced
from deployer.agent.owed import note_owed, owed_by
from deployer.agent.settings import RESERVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.session import Reporter, Session
    from deployer.agent.settings import Json


def confirm(session: Session, request: Json) -> Json:
    """Make the pending commit the newest generation.

    Raises:
        Refusal: it is not pending, or a service that it started is not up.
        StepError: the confirmation cannot be written.
    """
    state = session.state
    commit = check_name(request["commit"])
    going = state.under_way()
    if going is None or (going["commit"], going["state"]) != (commit, "pending"):
        raise state.not_pending(commit)
    state.lock({"who": "a confirm", "from": os.uname().nodename})
    number = state.last_generation() + 1
    path = os.path.join(state.pending, "meta.json")
    meta = read_json(path)
    if meta is None:
        raise StepError("meta.json is damaged, and a commit without it cannot be confirmed")
    started = Confirmation(session.children, state.pending)
    started.check()
    pending = dict(meta)
    meta.update(state="confirmed", generation=number, verified=request.get("verified", []))
    try:
        remove_tree(os.path.join(state.pending, RESERVE))
        write_synced(path, canonical_json(meta))
        try:
            started.check_states()  # again, with nothing between this and the rename
        except (Refusal, StepError):
            write_synced(path, canonical_json(pending))
            raise
        folder = state.claim(commit, "confirm")
    except OSError as error:
        words = f"{error.filename or settings.STATE}: {os_words(error)}"
        raise StepError(f"the confirmation cannot be recorded: {words}") from None
    _clean_up(session, folder, meta)
    state.unlock()
    return {"commit": commit, "state": "confirmed", "generation": number}


def _clean_up(session: Reporter, folder: str, meta: Json) -> None:
    """Clean up after a confirmation; failures here do not affect it."""
    for path in (folder, session.state.generations, settings.STATE):
        try:
            sync_folder(path)
        except OSError as error:
            session.event("output", text=f"{path} cannot be synced: {os_words(error)}\n")
    watchdog = watchdog_of(meta)
    try:
        if watchdog:
            watchdog.disarm()
        session.state.prune(max(1, int(meta["keep"])))
    except OSError as error:
        session.event("output", text=f"cleaning up failed: {os_words(error)}\n")


def abandon(session: Reporter, request: Json) -> Json:
    """Leave the host as it is, and end the commit whose revert has failed.

    Raises:
        Refusal: there is no such commit.
    """
    state = session.state
    commit = check_name(request["commit"])
    state.make()
    state.lock({"who": "an abandon", "from": os.uname().nodename})
    try:
        watchdog = watchdog_of(state.under_way_meta())
        folder = state.claim(commit, "abandon")
        note(folder, state="abandoned", ended=now_text())
        try:
            note_owed(owed_by(folder), folder)
        except OSError:
            pass  # a probe reports what a running proxy has not loaded
        sync_folder(state.abandoned)
        if watchdog:
            watchdog.disarm()
    finally:
        state.unlock()
    return {"commit": commit, "state": "abandoned"}


def tidy(session: Reporter) -> Json:
    """Remove what a dead agent left outside of a commit, as taking the lock does."""
    session.state.make()
    session.state.lock({"who": "a recovery", "from": os.uname().nodename})
    session.state.unlock()
    return {}
