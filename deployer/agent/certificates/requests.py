"""The kind of resource ``certificate``, the request ``certificates``, and the program of a timer.

`deployer-renew.service` runs `main`: ``python3 renew.pyz renew``.
"""

from __future__ import annotations

import binascii
import contextlib
import os
import sys
import threading
import time

from deployer.agent.certificates.order import Order, OrderError, kept_version
from deployer.agent.certificates.renewal import LOCK_PATIENCE_S, Locked, Renewal, attempt
from deployer.agent.certificates.status import next_run, status_of
from deployer.agent.certificates.versions import SERVED, Version, Versions, settings_of
from deployer.agent.children import Children
from deployer.agent.commit.state_folder import StateFolder
from deployer.agent.errors import Gone, Refusal, StepError, os_words
from deployer.agent.files import names_in, now_text, remove_tree
from deployer.agent.settings import STATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from deployer.agent.session import Session
    from deployer.agent.settings import Json


#: The controller may have to wait: for DNS, for other hosts, or for its own order.
REACH_LIMIT_S = 120.0
OBTAIN_LIMIT_S = 900.0


@contextlib.contextmanager
def _children(session: Session) -> Iterator[Children]:
    """For orders: they end with the connection, and when the controller is interrupted."""
    children = _OfOrders(session)
    session.on_word = children.on_word
    try:
        yield children
    finally:
        session.on_word = lambda message: None


class _OfOrders(Children):
    def __init__(self, session: Session) -> None:
        self._stopped = threading.Event()
        self._lost = session.channel.gone
        super().__init__(lambda: self._stopped.is_set() or self._lost.is_set())
        self.commit = session.children.commit

    def on_word(self, message: Json) -> None:
        if message.get("stop") == "orders":
            self._stopped.set()

    def run(self, argv: list[str], **options: Any) -> tuple[int, str]:
        try:
            return super().run(argv, **options)
        except Gone:
            if self._lost.is_set():
                raise
            raise OrderError("the order was interrupted, because deployer was stopped") from None


class CertificateKind:
    """The resource: the certificate that the proxy of this host reads for one domain."""

    def observe(self, domain: str) -> Json | None:
        """The attributes of the certificate in use, or `None`."""
        versions = Versions(domain)
        current = versions.current()
        return current.attributes(versions.state(), time.time()) if current else None

    def paths(self, domain: str) -> list[str]:
        """The paths that a revert restores."""
        return [Versions(domain).link]

    def make(self, session: Session, domain: str, after: Json | None) -> None:
        """Put a certificate like `after` in place; a revert never removes an issued one.

        Raises:
            StepError: there is none.
        """
        versions = Versions(domain)
        if after is None:
            remove_tree(versions.link)
            return
        settings = settings_of(domain)
        if settings is None:
            raise StepError(f"there are no settings for the certificate of {domain}")
        say = _teller(session)
        try:
            version = self._version(session, settings, after, say)
        except StepError as error:
            versions.note(last_attempt=attempt(ok=False, what="failed", words=error.message))
            current = versions.current()
            if current is None or not _is_good_still(current, settings, after):
                raise
            until = current.attributes({}, 0)["not_after"]
            say(f"{domain}: {error.message}; the one in use is valid until {until}, and stays")
            return
        versions.use(version)

    def _version(
        self, session: Session, settings: Json, after: Json, say: Callable[[str], None]
    ) -> Version:
        if settings["where"] == "controller":
            known = after.get("serial")
            here = [each for each in Versions(settings["domain"]).all() if each.serial == known]
            return here[0] if here else self._from_controller(session, settings, after)
        kept = kept_version(settings, time.time())
        if kept is not None:
            words = f"{kept.serial}, which was here already"
            say(f"{settings['domain']}: a certificate is here already, {kept.serial}")
            noted = attempt(ok=True, what="issued", words=words)
            Versions(settings["domain"]).note(last_attempt=noted)
            return kept
        with _children(session) as children:
            order = Order(
                settings,
                children=children,
                say=say,
                reach=_reach(session),
                staging_first=bool(after.get("staging_first")),
            )
            version = order.run()
        words = f"{version.serial}, until {version.attributes({}, 0)['not_after']}"
        session.kept.append(f"{settings['domain']}: {words}")
        noted = attempt(ok=True, what="issued", words=words)
        Versions(settings["domain"]).note(last_attempt=noted)
        return version

    def _from_controller(self, session: Session, settings: Json, after: Json) -> Version:
        """Get it from the controller, and answer its challenges in the meantime."""
        from deployer.agent.certificates.responder import Responder

        answers: dict[str, str] = {}

        def on_word(message: Json) -> None:
            for token, answer in message.get("challenge", {}).items():
                if answer is None:
                    answers.pop(token, None)
                else:
                    answers[token] = answer

        question = {"obtain": settings["domain"], "serial": after.get("serial")}
        session.on_word = on_word
        try:
            with Responder(settings["challenge_port"], answers):
                given = session.ask(question, limit_s=OBTAIN_LIMIT_S)
        except OSError as error:
            raise StepError(f"challenges cannot be answered: {error}") from None
        finally:
            session.on_word = lambda message: None
        about = {key: settings.get(key) for key in ("directory", "profile")}
        versions = Versions(settings["domain"])
        version = versions.add(
            binascii.a2b_base64(given["fullchain_b64"]),
            binascii.a2b_base64(given["privkey_b64"]),
            {**about, "at": now_text()},
        )
        words = f"{version.serial}, from the controller"
        versions.note(last_attempt=attempt(ok=True, what="issued", words=words))
        return version


def _is_good_still(current: Version, settings: Json, after: Json) -> bool:
    """Whether a failed renewal may wait: an apply must not fail because a CA is down."""
    is_valid = current.certificate.not_before <= time.time() < current.certificate.not_after
    return is_valid and current.is_for(settings) and not after.get("strict")


def _teller(session: Session) -> Callable[[str], None]:
    return lambda words: session.event("said", text=words)


def _reach(session: Session) -> Callable[[list[str], str, str], None]:
    def look(names: list[str], path: str, word: str) -> None:
        question = {"reach": names, "path": path, "expect": word}
        session.ask(question, limit_s=REACH_LIMIT_S)

    return look


# --- requests -------------------------------------------------------------------------------------


def certificates(session: Session, request: Json) -> Json:
    """`do`: ``look`` (all that is in use), ``status`` (of `sites`), ``timer``, ``renew``."""
    what = request["do"]
    if what == "look":
        return {
            "certificates": {domain: _look(domain) for domain in _domains()},
            "sites": _sites_now(session),
            "others_use_certbot": bool(names_in("/etc/letsencrypt/renewal")),
        }
    if what == "renew":
        return _renew(session, request)
    if what == "timer":
        return {"next_run": next_run()}
    if what == "status":
        return {"certificates": [status_of(site) for site in request["sites"]]}
    raise Refusal("bad-request", f"certificates cannot {what!r}")


def _sites_now(session: Session) -> list[Json]:
    """What the host serves now: each site from the last confirmed commit that had it."""
    found: dict[str, Json] = {}
    for record in session.state.history():
        if record["state"] == "confirmed":
            for site in record.get("sites") or []:
                found.setdefault(site["domain"], site)
    return list(found.values())


def _domains() -> list[str]:
    return sorted(name for name in names_in(SERVED) if _has_files(name))


def _has_files(domain: str) -> bool:
    folder = os.path.join(SERVED, domain)
    return any(os.path.lexists(os.path.join(folder, name)) for name in ("current", "fullchain.pem"))


def _look(domain: str) -> Json:
    """What a plan needs to know: the certificate in use, and its chain."""
    current = Versions(domain).current()
    return {
        "attributes": CertificateKind().observe(domain),
        "chain": current.fullchain.decode("ascii", "replace") if current else "",
    }


def _renew(session: Session, request: Json) -> Json:
    say = _teller(session)
    patience_s = float(request["patience_s"])
    with Locked(session.state, patience_s=patience_s, say=say), _children(session) as of_orders:
        renewal = Renewal(
            children=session.children,
            of_orders=of_orders,
            say=say,
            reach=_reach(session),
            domains=set(request["domains"]),
            is_forced=bool(request.get("force")),
            staging_first=bool(request.get("staging_first")),
        )
        return {"failed": renewal.run()}


# --- the timer's program --------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    """``renew [--force]``: 0 if everything is valid, 1 if something could not be renewed."""
    if arguments[:1] != ["renew"] or arguments[1:] not in ([], ["--force"]):
        sys.stderr.write("usage: python3 renew.pyz renew [--force]\n")
        return 2
    os.umask(0o022)

    def say(words: str) -> None:
        sys.stdout.write(words + "\n")
        sys.stdout.flush()

    children = Children(lambda: False)
    state = StateFolder()
    renewal = Renewal(children=children, say=say, is_forced="--force" in arguments)
    try:
        with Locked(state, patience_s=LOCK_PATIENCE_S, say=say):
            return 1 if renewal.run() else 0
    except (OrderError, StepError) as error:
        say(error.message)
    except OSError as error:
        say(f"{error.filename or STATE}: {os_words(error)}")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
