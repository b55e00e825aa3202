"""A site in maintenance, and its page."""

from __future__ import annotations

from dataclasses import replace

from deployer.errors import SourceError
from deployer.playbook.load.library import Library
from deployer.playbook.schema.site_settings import MaintenanceModel
from deployer.playbook.yaml.source import Problems, Spot
from deployer.proxies import PROXIES
from deployer.sites.model import Site

_LONGEST_BYTES = 1 << 20


def in_maintenance(
    site: Site,
    maintenance: bool | MaintenanceModel,
    library: Library,
    spot: Spot,
    problems: Problems,
) -> Site | None:
    """`site` without its routes; `spot` is the place of `maintenance`.

    `None`, with the error added to `problems`, if the page cannot be read, or the proxy cannot send
    it.
    """
    page = ""
    if isinstance(maintenance, MaintenanceModel):
        try:
            page = _read(site, maintenance.page, library, spot)
        except SourceError as error:
            problems.add(error)
            return None
    return replace(
        site,
        maintenance=True,
        maintenance_page=page,
        routes=(),
        verify=(),
        echo=None,
        require_survival=False,
    )


def _read(site: Site, name: str, library: Library, spot: Spot) -> str:
    path = library.find_file(name, "files", None, spot)
    proxy = PROXIES[site.proxy]
    limit = proxy.traits.longest_page_bytes or _LONGEST_BYTES
    try:
        content = path.read_bytes()
        text = content.decode()
    except OSError as error:
        raise spot.error(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise spot.error(f"{path} is not UTF-8", hint="save it as UTF-8") from None
    if not content or len(content) > limit:
        raise _wrong_size(f"{proxy.title} can send pages", len(content), limit, spot)
    return text


def _wrong_size(what: str, size: int, limit: int, spot: Spot) -> SourceError:
    problem = f"the page has {size:,} bytes; {what} of 1 to {limit:,}"
    hint = "link to larger images and styles on a different site" if size else ""
    return spot.error(problem, hint=hint)
