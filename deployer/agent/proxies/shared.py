"""What the files that several playbooks share have to keep, for the reply to ``facts``."""

from __future__ import annotations

from deployer.agent.errors import os_words
from deployer.agent.files import look_at
from deployer.agent.proxies import PROXIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from deployer.agent.settings import Json


def shared_parts(sites_now: Callable[[], list[Json]]) -> Json:
    """For each proxy that has such a file: what it has to keep.

    `sites_now` returns the sites of the last commit that had any: a file written by an earlier
    version of deployer has exactly those, and they have no files of their own.
    """
    found: Json = {}
    for name, proxy in PROXIES.items():
        if not proxy.shared_file or look_at(proxy.shared_file) is None:
            continue
        try:
            about = proxy.shared.read(proxy.shared_file)
        except OSError as error:
            path = error.filename or proxy.shared_file
            found[name] = {"problem": f"{path} cannot be read: {os_words(error)}"}
            continue
        former = sites_now() if about["sites"] is None else []
        found[name] = {
            "sites": about["sites"] or {},
            "former": [site for site in former if site.get("proxy") == name],
            "kept": about["kept"],
        }
    return found
