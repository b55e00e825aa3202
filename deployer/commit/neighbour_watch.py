"""The answers of a host's other sites before a change, and their comparison with those after it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING

from deployer.errors import AgentError, DeployerError, HostError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from deployer.commit.contact import Contact
    from deployer.model import CheckResult
    from deployer.plan.desired import DesiredState
    from deployer.proxies.inspect.names import Answering, ServedName
    from deployer.sites.model import Site
    from deployer.verify.neighbours.model import NeighbourAnswer, NeighbourRequest
    from deployer.verify.neighbours.verdict import Comparison
    from deployer.verify.net.access import Access

#: Limits of one request, of one to a slow site, and of all before the change and after it.
TIMEOUT_S, SLOW_S, BEFORE_S, AFTER_S = 3.0, 15.0, 20.0, 30.0
#: What each request adds to the limits of all.
EACH_S = 0.05
#: At most this many reasons for what is not checked are reported.
MOST_NOTES = 3
#: Old workers answer for a moment after a reload.
RELOAD_S = 0.5
#: How long an answer that got worse is asked for again after the change, at least from now on, and
#: the first pause. Pauses double: many requests may reach a limit themselves.
PATIENCE_S, AT_LEAST_S, PAUSE_S = 5.0, 1.5, 0.2
#: How long services may take to start again after a rollback.
RESTORED_S = 20.0
#: Answers that differ by themselves are asked for this often before the change.
SAMPLES, SAMPLES_OF_UNSTEADY = 2, 4
_OPENED = 101

ADVICE = (
    "Nothing was changed. Fix that on the host; or give --no-neighbours, and they are checked only"
    " as far as they are known."
)


@dataclass(slots=True)
class _Asked:
    """A request with its answers from before the change.

    An `is_extra` one is made in addition, at a further address of the host.
    """

    request: NeighbourRequest
    is_extra: bool = False
    answers: list[NeighbourAnswer] = field(default_factory=list)
    is_slow: bool = False

    def is_wanted(self, number: int) -> bool:
        """Whether it is asked in round `number`; what does not answer cannot get worse.

        A WebSocket that has opened is not opened again: some services lock clients out that come
        often and never log in.
        """
        if any(each.failure or each.status == _OPENED for each in self.answers):
            return False
        return number < SAMPLES or len(set(self.answers)) > 1


class Watch:
    """The answers of neighbours before a change, to compare with those after it.

    Args:
        served: every name that the proxies serve, to compare with those after the change.
        brought: files that earlier commits of the run's playbook brought.
        problems: why some names are not known.
        is_rejected: a proxy already rejects its files.
        addresses: those at which others reach the host.
    """

    def __init__(
        self,
        contact: Contact,
        desired: DesiredState,
        *,
        served: Sequence[ServedName] = (),
        brought: Collection[str] = (),
        problems: Sequence[str] = (),
        is_rejected: bool = False,
        addresses: tuple[str, ...] = (),
    ) -> None:
        self._contact = contact
        self._desired = desired
        self._served = served
        self._brought = brought
        self._problems = tuple(problems)
        self._is_rejected = is_rejected
        self._addresses = addresses
        self._asked: list[_Asked] = []

    # --- before -----------------------------------------------------------------------------------

    def ask(self, watched: Sequence[Answering], elsewhere: Sequence[Answering] = ()) -> None:
        """Request everything twice, what differs by itself more often, and slow sites once more.

        The same names `elsewhere` are asked as far as there is time.

        Raises:
            HostError: there was no time for all, which the user did not agree to.
        """
        if not watched:
            return
        from deployer.verify.neighbours.requests import pages_instead, requests_to

        self._contact.doing("asking other sites")
        self._asked = [_Asked(request=request) for request in requests_to(watched)]
        extra = pages_instead(requests_to(elsewhere))
        self._asked += [_Asked(request=request, is_extra=True) for request in extra]
        limit_s = BEFORE_S + EACH_S * len(self._asked)
        access = access_to(self._contact, limit_s)
        for number in range(SAMPLES_OF_UNSTEADY):
            self._sample([each for each in self._asked if each.is_wanted(number)], access)
        late = [each for each in self._asked if not each.answers]
        if late:
            words = (
                f"{len(late)} of {len(self._asked)} requests to other sites of this host, such as"
                f" {late[0].request.shown}, could not be made within {limit_s:.0f} s"
            )
            if self._contact.options.neighbours and not late[0].is_extra:
                raise HostError(words, host=self._contact.host.name, hint=ADVICE)
            self._problems = (*self._problems, words)
        needed = (each for each in self._asked if not each.is_extra)
        slow = [each for each in needed if any(one.is_late for one in each.answers)]
        for each in slow:
            each.is_slow = True
            each.answers.clear()
        self._sample(slow, replace(access_to(self._contact, BEFORE_S), timeout_s=SLOW_S))
        never = sum(not each.answers or each.answers[0].is_late for each in slow)
        if never:
            words = f"{never} of {len(self._asked)} requests are not answered within {SLOW_S:g} s"
            self._problems = (*self._problems, words)

    def _sample(self, wanted: Sequence[_Asked], access: Access) -> None:
        answers = asked_now(self._contact, [each.request for each in wanted], access)
        for each, answer in zip(wanted, answers, strict=True):
            if answer is not None:
                each.answers.append(answer)

    # --- after ------------------------------------------------------------------------------------

    def checks(self, *, changed_at: float) -> tuple[CheckResult, ...]:
        """Request everything again; one failed check for each name that answers worse."""
        from deployer.verify.neighbours.verdict import unknown
        from deployer.verify.net.stream import Cancelled

        more = len(self._problems) - MOST_NOTES
        shown = (*self._problems[:MOST_NOTES], *([f"{more} more reasons"] if more > 0 else ()))
        unlisted = tuple(map(unknown, shown))
        try:
            return (*unlisted, *self._checks(changed_at), *self._unreachable())
        except Cancelled:
            return unlisted  # the commit is reverted

    def _checks(self, changed_at: float) -> Iterator[CheckResult]:
        from deployer.verify.neighbours import after, verdict

        asked = self._compared_ones()
        served: tuple[ServedName, ...] = ()
        if self._served:
            rejected, served = self._served_now()
            yield from rejected
        if not asked:
            return
        requests = [each.request for each in asked]
        moved = after.moved(requests, self._served, served, brought=self._brought)
        self._contact.doing("asking other sites again")
        access = access_to(self._contact, AFTER_S + EACH_S * len(asked))
        access.until.pause(changed_at + RELOAD_S - time.monotonic())
        own_pages = self._own_pages(access)
        until = max(changed_at + PATIENCE_S, time.monotonic() + AT_LEAST_S)
        yield from verdict.results(*self._compared(asked, access, until, own_pages, moved))

    def not_restored(self) -> tuple[str, ...]:
        """What still answers worse than before the change, now that it was rolled back, in words.

        No rollback undoes what a command or a package's script did.
        """
        from deployer.verify.net.stream import Cancelled

        asked = self._compared_ones()
        if not asked:
            return ()
        self._contact.doing("asking other sites again")
        try:
            access = access_to(self._contact, RESTORED_S + AFTER_S + EACH_S * len(asked))
            access.until.pause(RELOAD_S)
            until = time.monotonic() + RESTORED_S
            compared, found = self._compared(asked, access, until)
        except (DeployerError, Cancelled):
            return ()  # the rollback is reported without it
        words = (f"{compared[number].request.shown} {each}" for number, each in found.items())
        return tuple(dict.fromkeys(words))

    def _compared_ones(self) -> list[_Asked]:
        """The requests whose answers can get worse."""
        from deployer.verify.neighbours.verdict import serves_nothing

        return [
            each
            for each in self._asked
            if any(not one.failure for one in each.answers)
            and not serves_nothing(each.request, each.answers)
        ]

    def _served_now(self) -> tuple[tuple[CheckResult, ...], tuple[ServedName, ...]]:
        """What the proxies serve now; a failed check for each that rejects its files now."""
        from deployer.commit.running_proxies import inspected
        from deployer.proxies.inspect.names import served_names
        from deployer.proxies.inspect.unlisted import rejected
        from deployer.verify.neighbours import verdict

        self._contact.doing("listing the names that are served")
        try:
            inspection = inspected(self._contact.link(), running=True)
            found = () if self._is_rejected else rejected(inspection)
            return tuple(map(verdict.invalid, found)), served_names(inspection.proxies)
        except AgentError as error:
            return (verdict.invalid(error.problem),), ()
        except Exception as error:  # no configuration may crash a commit
            return (verdict.invalid(f"a proxy's configuration is not understood: {error!r}"),), ()

    def _compared(
        self,
        asked: Sequence[_Asked],
        access: Access,
        until: float,
        own_pages: Sequence[NeighbourAnswer] = (),
        moved: Mapping[int, ServedName] = MappingProxyType({}),
    ) -> tuple[list[Comparison], dict[int, str]]:
        """The answers now, asked again until that time where they got worse, and how."""
        from deployer.verify.neighbours import verdict

        compared = self._asked_again(asked, access)
        found = verdict.worse(compared, own_pages, moved)
        pause_s = PAUSE_S
        while found and time.monotonic() < until and not access.until.has_passed():
            access.until.pause(pause_s)
            pause_s *= 2
            numbers = list(found)
            again = self._asked_again([asked[number] for number in numbers], access)
            for number, comparison in zip(numbers, again, strict=True):
                compared[number] = comparison
            found = verdict.worse(compared, own_pages, moved)
        return compared, found

    def _asked_again(self, asked: Sequence[_Asked], access: Access) -> list[Comparison]:
        from deployer.verify.neighbours.asking import ask_all
        from deployer.verify.neighbours.model import NeighbourAnswer
        from deployer.verify.neighbours.verdict import Comparison

        late = NeighbourAnswer(failure="could not be asked within the time limit")
        found: dict[int, NeighbourAnswer] = {}
        for is_slow, timeout_s in ((False, TIMEOUT_S), (True, SLOW_S)):
            these = [number for number, each in enumerate(asked) if each.is_slow is is_slow]
            answers = ask_all(
                [asked[number].request for number in these], replace(access, timeout_s=timeout_s)
            )
            found.update(zip(these, (answer or late for answer in answers), strict=True))
        return [
            Comparison(request=each.request, before=tuple(each.answers), after=found[number])
            for number, each in enumerate(asked)
        ]

    def _unreachable(self) -> list[CheckResult]:
        """The own sites that none of the host's addresses leads to."""
        access = access_to(self._contact, AFTER_S)
        return [
            result for site in self._desired.sites for result in self._unreachable_one(site, access)
        ]

    def _unreachable_one(self, site: Site, access: Access) -> tuple[CheckResult, ...]:
        """Ask again before it is reported: answers may differ by themselves."""
        from deployer.verify.neighbours.asking import ask_all
        from deployer.verify.neighbours.elsewhere import requests_of, unreachable

        requests = requests_of(site, self._addresses)
        if not requests:
            return ()
        for number in range(SAMPLES_OF_UNSTEADY):
            if number:
                access.until.pause(PAUSE_S * 2**number)
            answers = iter(ask_all([each for some in requests.values() for each in some], access))
            at_each = {place: tuple(islice(answers, len(some))) for place, some in requests.items()}
            found = tuple(unreachable(site, at_each))
            if not found:
                break
        return found

    def _own_pages(self, access: Access) -> list[NeighbourAnswer]:
        from deployer.verify.neighbours.asking import ask_all
        from deployer.verify.neighbours.requests import pages_of

        answers = ask_all(pages_of(self._desired.sites), access)
        return [each for each in answers if each is not None and not each.failure]


def asked_now(
    contact: Contact, requests: Sequence[NeighbourRequest], access: Access
) -> list[NeighbourAnswer | None]:
    """The answers before a change.

    Raises:
        HostError: interrupted.
    """
    from deployer.verify.neighbours.asking import ask_all
    from deployer.verify.net.stream import Cancelled

    try:
        return ask_all(requests, access)
    except Cancelled:
        raise HostError("interrupted; nothing was changed", host=contact.host.name) from None


def access_to(contact: Contact, limit_s: float) -> Access:
    """How to request names of the host, within `limit_s` for all requests."""
    from deployer.verify.net.access import Access
    from deployer.verify.net.stream import Deadline

    until = Deadline(limit_s, interrupt=contact.cancelled)
    return Access(dial=contact.link().open_stream, timeout_s=TIMEOUT_S, until=until)
