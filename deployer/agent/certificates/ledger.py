"""Recent requests to certificate authorities, so that their rate limits are never exceeded.

An exceeded limit can block orders for days. So every order is recorded before it is made, and one
that would exceed a published limit is refused here, with the time when it is possible again.

The limits of Let's Encrypt are token buckets: each is full at `Limit.most`, every counted request
takes a token, and one is added every ``window_s / most`` seconds. They are counted here in the same
way, per directory; all accounts of a ledger count as one, which is on the safe side. Orders for
exactly the names of an earlier certificate are renewals, and free of the limits on orders and on
registered domains; renewals by ARI (RFC 9773) are free of all.

Source: https://letsencrypt.org/docs/rate-limits/ (as of 2026-08-05) and, for its test system,
https://letsencrypt.org/docs/staging-environment/#rate-limits
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time

from deployer.agent.certificates.registered_domain import SUFFIX_LIST, RegisteredDomains

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    Json = dict[str, Any]

_HOUR_S, _DAY_S = 3600.0, 86400.0
_KEPT_S = 30 * _DAY_S
_STAGING = "acme-staging"
#: The longest accepted Retry-After; a longer one is a mistake of the CA or of a clock.
_LONGEST_WAIT_S = 7 * _DAY_S
#: Let's Encrypt adds up to this share to its waiting times (the jitter of its limiter).
_MARGIN = 1.03
#: A clock before this (2026-01-01) was never set, so its times do not order events.
_OLDEST_CLOCK = 1767225600.0
_CLOCK_SLACK_S = 60.0
_LOCK_WITHIN_S = 10.0


class Limit:
    """`most` tokens, all of which return within `window_s`, and a description."""

    def __init__(self, most: int, window_s: float, words: str) -> None:
        self.most = most
        self.window_s = window_s
        self.words = words


FAILED = Limit(5, _HOUR_S, "failed validations of {} within an hour")
DUPLICATES = Limit(5, 7 * _DAY_S, "certificates for exactly these names within a week")
OF_DOMAIN = Limit(50, 7 * _DAY_S, "certificates under {} within a week")
ORDERS = Limit(300, 3 * _HOUR_S, "orders of this account within three hours")
#: Its test system allows more; its limit on registered domains is practically none.
_STAGING_LIMITS = {
    FAILED: Limit(200, _HOUR_S, FAILED.words),
    DUPLICATES: Limit(30000, 7 * _DAY_S, DUPLICATES.words),
    OF_DOMAIN: Limit(30000, 1.0, "certificates under {} within a second"),
    ORDERS: Limit(1500, 3 * _HOUR_S, ORDERS.words),
}


class Refusal:
    """Why an order must wait, and `until` when, in seconds since the epoch."""

    def __init__(self, why: str, until: float) -> None:
        self.until = until
        # Messages have minutes, and must not be too early.
        at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(-(-until // 60) * 60))
        self.why = f"{why}; it is possible again from {at}"


class Usage:
    """How much of a limit is used: `used` of `most`, and of what in `words`."""

    def __init__(self, words: str, used: int, most: int) -> None:
        self.words = words
        self.used = used
        self.most = most


class Ledger:
    """A file of events, one JSON object a line: `at` in seconds since the epoch, `what`, and more.

    `what` is ``order`` (with `account`, and `is_renewal_by_ari`), ``issued``, ``failed`` (with
    `failed_names`), ``rate-limited`` (with `not_before`), ``staging-ok``, or ``clock``, by which
    the ledger notes that the clock went back.
    """

    def __init__(self, path: str, *, suffix_list: str = SUFFIX_LIST) -> None:
        self._path = path
        self._domains = RegisteredDomains(suffix_list)

    # --- writing ----------------------------------------------------------------------------------

    def append(
        self,
        what: str,
        *,
        directory: str,
        names: Iterable[str],
        now: float | None = None,
        **details: Any,
    ) -> None:
        """Write an event, on the disk when this returns; `details` that are empty are left out.

        Raises:
            OSError: the file cannot be written, or a different process holds it for too long.
        """
        event: Json = {"at": time.time() if now is None else now, "what": what}
        event.update(directory=directory, names=_sorted(names))
        if details.get("failed_names"):
            details["failed_names"] = _sorted(details["failed_names"])
        event.update({key: value for key, value in details.items() if value})
        self._write(event)

    def _write(self, event: Json) -> None:
        with self._locked_folder() as folder:
            events = self._read()
            kept = _still_of_use(events, event["at"])
            if len(kept) < len(events):
                self._replace("".join(json.dumps(each) + "\n" for each in [*kept, event]), folder)
            else:
                self._add(json.dumps(event) + "\n", folder)

    @contextlib.contextmanager
    def _locked_folder(self) -> Iterator[int]:
        """The descriptor of the ledger's folder, which is created with mode 0700."""
        path = os.path.dirname(os.path.abspath(self._path))
        with contextlib.suppress(FileExistsError):
            os.makedirs(path, 0o700)
            os.chmod(path, 0o700)  # whatever the umask
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            deadline = time.monotonic() + _LOCK_WITHIN_S
            while True:
                try:
                    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)
            yield folder
        finally:
            os.close(folder)

    def _add(self, line: str, folder: int) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = "\n" + line  # a line that was truncated when the host crashed
            _write_all(descriptor, line.encode())
        finally:
            os.close(descriptor)
        if not size:
            os.fsync(folder)

    def _replace(self, text: str, folder: int) -> None:
        new = self._path + ".new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)  # left by an interrupted process, with any mode
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(new, flags, 0o600)
        try:
            _write_all(descriptor, text.encode())
        finally:
            os.close(descriptor)
        os.rename(new, self._path)
        os.fsync(folder)

    # --- reading ----------------------------------------------------------------------------------

    def _read(self) -> list[Json]:
        try:
            with open(self._path, encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except OSError:
            return []
        found: list[Json] = []
        latest = float("inf")
        for line in reversed(lines):
            event = _event(line)
            if event is None:
                continue  # truncated when the host crashed
            # Lines are in chronological order: an earlier line did not happen later, whatever the
            # clock said.
            event["at"] = min(event["at"], latest)
            if event["at"] >= _OLDEST_CLOCK:
                latest = event["at"]
            found.append(event)
        return found[::-1]

    @property
    def is_empty(self) -> bool:
        """Whether nothing has ever been ordered according to this ledger."""
        return not self._read()

    def has_succeeded(self, directory: str) -> bool:
        """Whether a challenge of the CA, or of its test system, has ever been met here."""
        return any(_is_success(each) and each["directory"] == directory for each in self._read())

    def refusal(
        self, settings: Json, *, now: float, account: str = "", is_renewal_by_ari: bool = False
    ) -> Refusal | None:
        """Why an order for `settings` must wait, or `None` if it may be made."""
        events = self._events(settings["directory"], now)
        found = list(_told_by_ca(events, _sorted(settings["names"]), account, now))
        if not (is_renewal_by_ari and settings.get("limits") == "letsencrypt"):
            for limit, about, times in self._counted(settings, events):
                found += _over(limit, about, times, now)
        return max(found, key=lambda each: each.until, default=None)

    def usage(self, settings: Json, *, now: float) -> list[Usage]:
        """How much of each limit that applies to an order for `settings` is used."""
        events = self._events(settings["directory"], now)
        return [
            Usage(limit.words.format(about), -int(-_taken(limit, times, now) // 1), limit.most)
            for limit, about, times in self._counted(settings, events, with_exempt=True)
        ]

    def _events(self, directory: str, now: float) -> list[Json]:
        """The events of the CA at `directory`; those in the future count as now."""
        events = self._read()
        if now >= _OLDEST_CLOCK and any(each["at"] > now + _CLOCK_SLACK_S for each in events):
            # Recorded; otherwise it would be now for as long as the clock went back.
            note = {"at": now, "what": "clock", "directory": "", "names": []}
            with contextlib.suppress(OSError):
                self._write(note)
        return [
            {**each, "at": min(each["at"], now)}
            for each in events
            if each["directory"] == directory
        ]

    def _counted(
        self, settings: Json, events: list[Json], *, with_exempt: bool = False
    ) -> Iterator[tuple[Limit, str, list[float]]]:
        """Each limit for an order of `settings`, of what, and when tokens were taken."""
        directory, names = settings["directory"], _sorted(settings["names"])
        for name in names:
            failed = (each for each in events if name in each.get("failed_names", ()))
            yield _limit(FAILED, directory), name, [each["at"] for each in failed]
        if settings.get("limits") != "letsencrypt":
            return
        counting = [each for each in events if not each.get("is_renewal_by_ari")]
        issued = [each for each in counting if each["what"] == "issued"]
        same = [each["at"] for each in issued if each["names"] == names]
        yield _limit(DUPLICATES, directory), "", same
        is_renewal = any(each["what"] == "issued" and each["names"] == names for each in events)
        if is_renewal and not with_exempt:
            return
        for domain in sorted(map(self._domains.of, names)):
            under = [
                each["at"] for each in issued if domain in map(self._domains.of, each["names"])
            ]
            yield _limit(OF_DOMAIN, directory), domain, under
        orders = [each["at"] for each in counting if each["what"] == "order"]
        yield _limit(ORDERS, directory), "", orders


def _event(line: str) -> Json | None:
    try:
        event = json.loads(line)
        event["at"] = float(event["at"])
        str(event["what"])
        if not isinstance(event["directory"], str) or not isinstance(event["names"], list):
            return None
        until = event.get("not_before")
        event["not_before"] = None if until is None else float(until)
        event["failed_names"] = list(event.get("failed_names") or ())
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    found: Json = {key: value for key, value in event.items() if value not in (None, [])}
    found.setdefault("names", [])
    return found


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted({name.lower() for name in names})


def _is_success(event: Json) -> bool:
    return event["what"] in ("issued", "staging-ok")


def _still_of_use(events: list[Json], now: float) -> list[Json]:
    """Events of the last 30 days, and older ones that show that something has worked."""
    newest = {
        (each["directory"], *each["names"]): index
        for index, each in enumerate(events)
        if _is_success(each)
    }
    lasting = set(newest.values())
    return [
        each for index, each in enumerate(events) if each["at"] >= now - _KEPT_S or index in lasting
    ]


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
    os.fsync(descriptor)


def _told_by_ca(
    events: list[Json], names: list[str], account: str, now: float
) -> Iterator[Refusal]:
    for event in events:
        until = min(event.get("not_before", 0.0), event["at"] + _LONGEST_WAIT_S)
        is_ours = bool(set(names) & set(event["names"])) or (
            account != "" and event.get("account") == account
        )
        if event["what"] == "rate-limited" and now < until and is_ours:
            yield Refusal("the CA has said that too much was asked of it", until)


def _limit(limit: Limit, directory: str) -> Limit:
    return _STAGING_LIMITS[limit] if _STAGING in directory else limit


def _taken(limit: Limit, times: list[float], now: float) -> float:
    """How many tokens are missing in a bucket from which one was taken at each of `times`."""
    taken, last = 0.0, min(times, default=now)
    for at in sorted(times):
        taken = max(0.0, taken - (at - last) * limit.most / limit.window_s) + 1.0
        last = at
    return max(0.0, taken - (now - last) * limit.most / limit.window_s)


def _over(limit: Limit, about: str, times: list[float], now: float) -> Iterator[Refusal]:
    taken = _taken(limit, times, now)
    missing = taken + 1.0 - limit.most
    if missing > 1e-6:
        wait_s = min(missing * limit.window_s / limit.most * _MARGIN, limit.window_s)
        words = limit.words.format(about)
        yield Refusal(f"too many {words}: {limit.most} is the most", now + wait_s)
