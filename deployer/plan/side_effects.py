"""What a plan changes for other sites of a proxy although they keep working. Pure.

The names and listeners before the plan are compared with those after it. What breaks is not decided
here: the names are requested (`deployer.commit.neighbours`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from posixpath import basename

from deployer.plan.model import Change, Plan
from deployer.proxies import PROXIES
from deployer.proxies.inspect.names import ServedName

_LISTED = 3

_Key = tuple[str, str, str, int]


def side_effects(
    before: Sequence[ServedName], after: Sequence[ServedName], plan: Plan, own: Collection[str]
) -> tuple[str, ...]:
    """Notes on what `plan` changes for names that are not `own`, each once."""
    found = [
        *_claimed(before, after, plan, own),
        *_defaults(before, after, own),
        *_http2(before, after, own),
        *_process_wide(before, plan, own),
    ]
    return tuple(dict.fromkeys(found))


def _by_key(names: Iterable[ServedName]) -> dict[_Key, ServedName]:
    return {(each.proxy, each.name, each.address or each.socket, each.port): each for each in names}


def _claimed(
    before: Sequence[ServedName], after: Sequence[ServedName], plan: Plan, own: Collection[str]
) -> Iterator[str]:
    """An own name that another file has as well, and which of the two answers."""
    written = {basename(change.name) for change in plan.changes if change.after is not None}
    former = _by_key(before)
    for key, each in _by_key(after).items():
        if each.name not in own:
            continue
        title = PROXIES[each.proxy].title
        for other in dict.fromkeys(each.also_at):
            yield (
                f"{each.name} is configured twice on port {each.port}: {title} uses {each.where},"
                f" not {other}"
            )
        earlier = former.get(key)
        if earlier is None or earlier.file == each.file or earlier.where in each.also_at:
            continue  # unchanged, or noted above
        if basename(earlier.file) not in written:
            yield (
                f"{each.name} on port {each.port} is answered by {each.where} of {title} instead of"
                f" {earlier.where}"
            )


def _defaults(
    before: Sequence[ServedName], after: Sequence[ServedName], own: Collection[str]
) -> Iterator[str]:
    """A port on which requests for no known name get a different server."""
    former = _by_key(each for each in before if each.is_default)
    for key, each in _by_key(each for each in after if each.is_default).items():
        earlier = former.get(key)
        if earlier is None or (earlier.of_site, earlier.file) == (each.of_site, each.file):
            continue
        if own and set(earlier.of_site) & set(own) and set(each.of_site) & set(own):
            continue
        title = PROXIES[each.proxy].title
        yield (
            f"requests for unknown names on port {each.port} of {title} go to {_server(each)}"
            f" instead of {_server(earlier)}"
        )


def _server(default: ServedName) -> str:
    return f"{default.of_site[0]} ({default.where})" if default.of_site else default.where


def _http2(
    before: Sequence[ServedName], after: Sequence[ServedName], own: Collection[str]
) -> Iterator[str]:
    """Names that are offered HTTP/2 because they share an address with a site of the plan."""
    former = _by_key(before)
    gained: dict[tuple[str, int], list[str]] = {}
    for key, each in _by_key(after).items():
        earlier = former.get(key)
        is_others = each.name != "" and each.name not in own
        if is_others and each.http2 and earlier is not None and not earlier.http2:
            gained.setdefault((each.proxy, each.port), []).append(each.name)
    for (proxy, port), names in gained.items():
        title = next(server.title for server in PROXIES.values() if server.name == proxy)
        yield (
            f"port {port} of {title} is shared and now offers HTTP/2, also to clients of"
            f" {_listed(names)}"
        )


def _process_wide(before: Sequence[ServedName], plan: Plan, own: Collection[str]) -> Iterator[str]:
    """Settings of a whole proxy that the plan writes, if it also serves others."""
    for server in PROXIES.values():
        names = [
            each.name
            for each in before
            if each.proxy == server.name and each.name and each.name not in own
        ]
        if not names:
            continue
        for change in plan.changes:
            if server.unit not in change.name:
                continue
            settings = _new_settings(change, server.traits.process_wide)
            if settings:
                *most, last = settings
                them = (
                    f"{', '.join(most)} and {last} are settings" if most else f"{last} is a setting"
                )
                yield (
                    f"{them} of {server.title} as a whole, also for {_listed(names)}"
                    f" ({change.name})"
                )


def _new_settings(change: Change, pattern: re.Pattern[str] | None) -> list[str]:
    """The settings in the new content of a file that its present content does not have."""
    if pattern is None or change.kind != "file" or change.action == "no-op":
        return []
    texts = [
        (content or b"").decode("utf-8", "replace")
        for content in (change.before_content, change.after_content)
    ]
    before, after = (
        [" ".join("".join(filter(None, each.groups())).split()) for each in pattern.finditer(text)]
        for text in texts
    )
    return [words for words in dict.fromkeys(after) if words not in before]


def _listed(names: Iterable[str]) -> str:
    each = list(dict.fromkeys(names))
    more = f" and {len(each) - _LISTED} more" if len(each) > _LISTED else ""
    return f"{', '.join(each[:_LISTED])}{more}"
