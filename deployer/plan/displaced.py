"""The names that a plan removes: what proxies serve now, and would not serve after it. Pure.

A name of a site of the run itself is not removed: it has its own checks. Whether a name may be
removed is up to the user, unless the run removes it on purpose (`leaving`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from deployer.agent.proxies import PROXIES as ON_HOSTS
from deployer.model import Proxy
from deployer.plan.model import Displaced
from deployer.proxies import PROXIES
from deployer.proxies.inspect.names import ServedName, belongs_to

#: The name of a default server in lists of names.
DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """Which names are whose.

    `own` are the names of the run's sites, `leaving` those that the run removes on purpose;
    `consented` may be displaced.
    """

    own: Collection[str] = ()
    leaving: Collection[str] = ()
    consented: Collection[str] = ()

    def is_own(self, served: ServedName) -> bool:
        """Whether it belongs to a site of the run; a default server belongs to the site's."""
        return belongs_to(served, self.own)


def displaced(
    before: Iterable[ServedName], after: Iterable[ServedName], ownership: Ownership
) -> tuple[Displaced, ...]:
    """The names that are in `before` and no longer in `after`, in the order of `before`.

    A default server counts if nothing is left on its port, or if it is a server of its own.
    """
    left = {(each.name, each.port, each.socket) for each in after}
    ports = {(each.port, each.socket) for each in after}
    gone: dict[tuple[str, Proxy, str], list[ServedName]] = {}
    for each in before:
        if (each.name, each.port, each.socket) in left or ownership.is_own(each):
            continue
        if each.is_default and (each.of_site or (each.port, each.socket) in ports):
            continue  # its named server is listed, or a different one answers there
        key = (each.name, each.proxy, each.where if each.is_default else "")
        gone.setdefault(key, []).append(each)
    return tuple(_displaced(found, ownership) for found in gone.values())


def _displaced(found: Sequence[ServedName], ownership: Ownership) -> Displaced:
    first = found[0]
    return Displaced(
        name=first.name,
        proxy=first.proxy,
        ports=tuple(sorted({each.port for each in found if each.port})),
        where=first.where,
        is_expected=first.name in ownership.leaving,
        is_consented=(first.name or DEFAULT) in ownership.consented,
    )


def refused(names: Sequence[Displaced]) -> tuple[Displaced, ...]:
    """Those that the user has not agreed to lose.

    Consent to lose the names on a port includes its default server.
    """
    asked = [each for each in names if not (each.is_expected or each.is_consented)]
    named = {(each.proxy, port) for each in names if each.name for port in each.ports}
    return tuple(
        each
        for each in asked
        if each.name or not each.ports or not named.issuperset((each.proxy, n) for n in each.ports)
    )


def displaced_words(each: Displaced) -> str:
    """``name intern.example.com  (ports 80, 443 of nginx, /etc/nginx/conf.d/intern.conf:1)``."""
    title = PROXIES[each.proxy].title
    ports = f"port{'s' * (len(each.ports) > 1)} {', '.join(map(str, each.ports))} of {title}"
    details = ", ".join(filter(None, (ports if each.ports else title, each.where)))
    return f"{_thing(each)}  ({details})"


def _thing(each: Displaced) -> str:
    return f"name {each.name}" if each.name else "default server, which answers all other names"


def refusal_words(names: Sequence[Displaced]) -> str:
    """Why a plan is refused that would remove `names`, and what to do."""
    lines = [f"    - {displaced_words(each)}" for each in names]
    words = list(dict.fromkeys(each.name or DEFAULT for each in names))
    options = " ".join(f"--displace {quoted(word)}" for word in words)
    listed = ", ".join(quoted(word) for word in words)
    count = "1 name" if len(names) == 1 else f"{len(names)} names"
    return "\n".join(
        [
            (
                f"this plan would remove {count} that the host serves now, and that"
                f" {'is no site' if len(names) == 1 else 'are no sites'} of this playbook:"
            ),
            *lines,
            *_keeping(names),
            "Nothing was changed. Add them to `sites:` to keep them, or agree to lose them:",
            f"    displaces: [{listed}]   in the play or site",
            f"    {options}   on the command line",
        ]
    )


def _keeping(names: Iterable[Displaced]) -> Iterator[str]:
    """How to keep hand-made parts of a file that the role of a proxy writes."""
    for proxy in dict.fromkeys(each.proxy for each in names):
        on_host = ON_HOSTS[proxy]
        file = on_host.shared_file
        if file and any(each.where.startswith(f"{file}:") for each in names):
            yield f"To keep hand-written sections of {file}, put this line above them:"
            yield f"    {on_host.shared.LINE}"


def quoted(word: str) -> str:
    """A name as it is written in YAML and in a shell."""
    is_plain = all(sign.isalnum() or sign in ".-_" for sign in word)
    return word if is_plain else f"'{word}'"
