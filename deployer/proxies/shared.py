"""What a proxy serves besides the sites of a playbook, if one file of its configuration has it all.

nginx and Apache read a file for each site, so nothing here concerns them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployer.errors import UsageError
from deployer.sites.model import Site

if TYPE_CHECKING:
    from deployer.agent.replies import SharedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """What a proxy serves besides the sites of this playbook.

    `sites` are those of other playbooks; `unfiled` ones of them have no file on the host yet.
    `gone` are the paths of the files of sites that are no longer served. `kept` is the hand-written
    end of the configuration.
    """

    sites: tuple[Site, ...] = ()
    unfiled: tuple[Site, ...] = ()
    gone: tuple[str, ...] = ()
    kept: str = ""


ALONE = Others()


def others_of(
    about: SharedFile | None,
    *,
    own: Sequence[Site],
    removed: frozenset[str] = frozenset(),
    is_current: bool = True,
) -> Others:
    """What is to be kept, by the part of a reply to ``facts`` about the proxy.

    Args:
        own: the sites of this playbook.
        removed: domains of sites that are no longer to be served.
        is_current: whether the proxy serves the host; otherwise its sites are those of a time
            before another proxy took over.

    Raises:
        UsageError: a file on the host cannot be read.
    """
    if about is None:
        return ALONE
    if "problem" in about:
        raise UsageError(
            about["problem"],
            hint="Nothing was changed. It may have sites of other playbooks, which must be kept.",
        )
    from deployer.sites.served_file import sites_in

    filed = sites_in(about.get("sites", {}))
    former = _former(about)
    left_out = {site.domain.lower() for site in own}
    keeps = {
        site.domain.lower(): site
        for site in (*former, *filed.values())
        if is_current and site.domain.lower() not in removed
    }
    others = [site for domain, site in sorted(keeps.items()) if domain not in left_out]
    known = {site.domain.lower() for site in filed.values()}
    return Others(
        sites=tuple(others),
        unfiled=tuple(site for site in others if site.domain.lower() not in known),
        gone=tuple(
            path
            for path, site in filed.items()
            if site.domain.lower() not in left_out and site.domain.lower() not in keeps
        ),
        kept=_kept(about),
    )


def _former(about: SharedFile) -> list[Site]:
    """The sites of a file that was written before each site had a file of its own."""
    from deployer.sites.document import sites_from_json
    from deployer.sites.served_file import served_part

    try:
        return [served_part(site) for site in sites_from_json(about.get("former", ()))]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"the sites of the last commit cannot be read: {error}",
            hint="Nothing was changed. Was it made by a newer version of deployer?",
        ) from None


def _kept(about: SharedFile) -> str:
    kept = about.get("kept", "")
    try:
        kept.encode()
    except UnicodeEncodeError:
        raise UsageError(
            "the hand-written end of the proxy's configuration has bytes that are not UTF-8",
            hint="Nothing was changed. Save it as UTF-8.",
        ) from None
    return kept if not kept or kept.endswith("\n") else f"{kept}\n"
