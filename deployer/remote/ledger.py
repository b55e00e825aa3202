"""What has been asked of certificate authorities lately, so that their limits are never run into.

A limit that is hit is a door that stays shut for up to a week. So every order is written down
before it is made, and one that would go over a published limit is refused here, with the time when
it is possible again. Limits of Let's Encrypt: https://letsencrypt.org/docs/rate-limits/
"""

from __future__ import annotations

import ipaddress
import json
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Json = dict[str, Any]

_HOUR_S, _DAY_S = 3600.0, 86400.0
_KEPT_S = 30 * _DAY_S
_SUFFIX_LIST = "/usr/share/publicsuffix/public_suffix_list.dat"
#: Second-level names under which countries register, where no list of public suffixes is at hand.
_SECOND_LEVEL = frozenset(("ac", "co", "com", "edu", "gob", "gov", "go", "ne", "net", "or", "org"))
_STAGING = "acme-staging"


class Limit:
    """`most` events in `window_s`, and of what, in words."""

    def __init__(self, most: int, window_s: float, words: str) -> None:
        self.most = most
        self.window_s = window_s
        self.words = words


FAILED = Limit(5, _HOUR_S, "failed validations of {} within an hour")
DUPLICATES = Limit(5, 7 * _DAY_S, "certificates for exactly these names within a week")
OF_DOMAIN = Limit(50, 7 * _DAY_S, "certificates under {} within a week")
ORDERS = Limit(300, 3 * _HOUR_S, "orders of this account within three hours")
#: Its test system forgives more.
_STAGING_LIMITS = {
    FAILED: Limit(200, _HOUR_S, FAILED.words),
    DUPLICATES: Limit(30000, 7 * _DAY_S, DUPLICATES.words),
    OF_DOMAIN: Limit(30000, 7 * _DAY_S, OF_DOMAIN.words),
    ORDERS: Limit(1500, 3 * _HOUR_S, ORDERS.words),
}


class Refusal:
    """Why an order must wait, and `until` when, in seconds since the epoch."""

    def __init__(self, why: str, until: float) -> None:
        self.until = until
        at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(until))
        self.why = f"{why}; it is possible again from {at}"


class Ledger:
    """A file of events, one JSON object a line: `at` in seconds since the epoch, `what`, and more.

    `what` is ``order``, ``issued``, ``failed`` (with `failed_names`), ``rate-limited`` (with
    `not_before`) or ``staging-ok``.
    """

    def __init__(self, path: str, *, suffix_list: str = _SUFFIX_LIST) -> None:
        self._path = path
        self._suffix_list = suffix_list

    # --- writing ----------------------------------------------------------------------------------

    def append(
        self,
        what: str,
        *,
        directory: str,
        names: Iterable[str],
        failed_names: Iterable[str] = (),
        not_before: float | None = None,
        now: float | None = None,
    ) -> None:
        """Write an event down, on the disk when this returns."""
        at = time.time() if now is None else now
        event: Json = {"at": at, "what": what, "directory": directory, "names": sorted(names)}
        if failed_names:
            event["failed_names"] = sorted(failed_names)
        if not_before is not None:
            event["not_before"] = not_before
        os.makedirs(os.path.dirname(self._path), 0o700, exist_ok=True)
        events = self._read()
        if events and events[0]["at"] < at - _KEPT_S:
            kept = [*(each for each in events if each["at"] >= at - _KEPT_S), event]
            self._replace("".join(json.dumps(each) + "\n" for each in kept))
            return
        self._add(json.dumps(event) + "\n")

    def _add(self, line: str) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = "\n" + line  # a line that was cut off with its host
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _replace(self, text: str) -> None:
        new = self._path + ".new"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, text.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(new, self._path)

    # --- reading ----------------------------------------------------------------------------------

    def _read(self) -> list[Json]:
        try:
            with open(self._path, encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except OSError:
            return []
        found = []
        for line in lines:
            try:
                event = json.loads(line)
                event["at"] = float(event["at"])
                found.append(event)
            except (ValueError, KeyError, TypeError):
                continue  # cut off with its host: what it was is not known
        return found

    def has_succeeded(self, directory: str) -> bool:
        """Whether a challenge of the CA, or of its test system, has ever been met here."""
        return any(
            each.get("directory") == directory and each["what"] in ("issued", "staging-ok")
            for each in self._read()
        )

    def refusal(self, settings: Json, *, now: float) -> Refusal | None:
        """Why an order for `settings` must wait, or `None` where it may be made."""
        directory, names = settings["directory"], sorted(settings["names"])
        events = [each for each in self._read() if each.get("directory") == directory]
        found = [
            *self._told_by_ca(events, names, now),
            *self._failures(events, names, directory, now),
        ]
        if settings.get("limits") == "letsencrypt":
            found += self._of_letsencrypt(events, names, directory, now)
        return max(found, key=lambda each: each.until, default=None)

    @staticmethod
    def _told_by_ca(events: list[Json], names: list[str], now: float) -> Iterable[Refusal]:
        for event in events:
            until = event.get("not_before")
            if until and now < until <= now + 8 * _DAY_S and set(names) & set(event["names"]):
                yield Refusal("the CA has said that too much was asked of it", until)

    @staticmethod
    def _failures(
        events: list[Json], names: list[str], directory: str, now: float
    ) -> Iterable[Refusal]:
        limit = _limit(FAILED, directory)
        for name in names:
            at = [
                each["at"]
                for each in events
                if each["what"] == "failed" and name in each.get("failed_names", ())
            ]
            yield from _over(limit, at, now, about=name)

    def _of_letsencrypt(
        self, events: list[Json], names: list[str], directory: str, now: float
    ) -> Iterable[Refusal]:
        issued = [each for each in events if each["what"] == "issued"]
        same = [each["at"] for each in issued if each.get("names") == names]
        yield from _over(_limit(DUPLICATES, directory), same, now)
        for domain in {self.registered_domain(name) for name in names}:
            under = [
                each["at"]
                for each in issued
                if domain in {self.registered_domain(name) for name in each.get("names", ())}
            ]
            yield from _over(_limit(OF_DOMAIN, directory), under, now, about=domain)
        orders = [each["at"] for each in events if each["what"] == "order"]
        yield from _over(_limit(ORDERS, directory), orders, now)

    def registered_domain(self, name: str) -> str:
        """What was registered: the name under a public suffix; an address is itself."""
        try:
            return str(ipaddress.ip_address(name))
        except ValueError:
            pass
        labels = name[2:].split(".") if name.startswith("*.") else name.split(".")
        known = _suffixes(self._suffix_list)
        for start in range(1, len(labels)):
            rest = ".".join(labels[start:])
            is_suffix = rest in known or "*." + ".".join(labels[start + 1 :]) in known
            if is_suffix and "!" + rest not in known:
                return ".".join(labels[start - 1 :])
        is_national = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _SECOND_LEVEL
        return ".".join(labels[-3:] if is_national and not known else labels[-2:])


def _limit(limit: Limit, directory: str) -> Limit:
    return _STAGING_LIMITS[limit] if _STAGING in directory else limit


def _over(limit: Limit, times: list[float], now: float, *, about: str = "") -> Iterable[Refusal]:
    """The refusal that `times` of events make, if they do; the future counts as now."""
    recent = sorted(min(at, now) for at in times if at > now - limit.window_s)
    if len(recent) >= limit.most:
        words = limit.words.format(about)
        oldest = recent[len(recent) - limit.most]
        yield Refusal(
            f"{len(recent)} {words}, and {limit.most} is the most", oldest + limit.window_s
        )


def _suffixes(path: str) -> frozenset[str]:
    try:
        with open(path, encoding="utf-8") as file:
            lines = (line.strip() for line in file)
            return frozenset(line for line in lines if line and not line.startswith("//"))
    except OSError:
        return frozenset()
