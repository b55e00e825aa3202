"""The files that an apply would write to a host, as a tree to look at. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from deployer.model import Resource, SourceRef
from deployer.resources import PATH_KINDS, holds_private_key
from deployer.text.redaction import masked


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedFile:
    """A file or symbolic link of one host.

    `content` is set for files, `target` for links. If `left_out` gives a reason, the file is not
    shown and has neither. `mode` is set if the playbook sets it.
    """

    host: str
    path: str
    kind: Literal["file", "link"]
    content: bytes | None = None
    target: str | None = None
    mode: str | None = None
    left_out: str = ""
    source: SourceRef | None = None

    @property
    def goal(self) -> str:
        """The absolute path on the host that a link points to."""
        return on_host(self.path, self.target or "/")

    def document(self) -> dict[str, Any]:
        """The entry of ``check --render --json``."""
        return {
            "host": self.host,
            "path": self.path,
            "kind": self.kind,
            **({} if self.target is None else {"target": self.target}),
            **({} if self.mode is None else {"mode": self.mode}),
            "left_out": self.left_out or None,
            "source": None if self.source is None else str(self.source),
        }


def rendered_files(
    host: str,
    resources: Iterable[Resource],
    *,
    secrets: Collection[str] = (),
    placeholders: Collection[bytes] = (),
) -> tuple[RenderedFile, ...]:
    """Every file with content and every link after the last stage, sorted by path.

    Args:
        secrets: texts that are masked in all contents.
        placeholders: contents that stand in for certificates that an apply would create.
    """
    latest = {each.name: each for each in resources if each.kind in PATH_KINDS}
    found = (
        _rendered(host, latest[path], secrets=secrets, placeholders=placeholders)
        for path in sorted(latest)
    )
    return tuple(each for each in found if each is not None)


def _rendered(
    host: str, resource: Resource, *, secrets: Collection[str], placeholders: Collection[bytes]
) -> RenderedFile | None:
    attributes = resource.attributes
    if attributes is None:
        return None
    if resource.kind == "link":
        return RenderedFile(
            host=host,
            path=resource.name,
            kind="link",
            target=attributes["target"],
            source=resource.source,
        )
    if resource.content is None:
        return None
    left_out = _why_left_out(resource, resource.content, placeholders)
    return RenderedFile(
        host=host,
        path=resource.name,
        kind="file",
        content=None if left_out else masked(resource.content, secrets),
        mode=attributes.get("mode"),
        left_out=left_out,
        source=resource.source,
    )


def _why_left_out(resource: Resource, content: bytes, placeholders: Collection[bytes]) -> str:
    if holds_private_key(content):
        return "a private key"
    if resource.secret:
        return "secret"
    if content in placeholders:
        return "a certificate created by apply"
    return ""


def in_tree(files: Iterable[RenderedFile]) -> Mapping[str, RenderedFile]:
    """The files that are not left out, by their path below the folder of their host.

    A file below a symbolic link is placed at the link's target, as on the host.
    """
    shown = [each for each in files if not each.left_out]
    links = {each.path: each.target or "/" for each in shown if each.kind == "link"}
    return {_behind_links(each.path, links)[1:]: each for each in shown}


def _behind_links(path: str, links: Mapping[str, str]) -> str:
    for _ in range(40):  # as many as Linux follows: path_resolution(7)
        above = path
        while (above := posixpath.dirname(above)) != "/":
            if above in links:
                path = on_host(above, links[above]) + path[len(above) :]
                break
        else:
            break
    return path


def on_host(link: str, target: str) -> str:
    """The target of a link as an absolute path, which cannot leave the root."""
    return "/" + posixpath.normpath(posixpath.join(posixpath.dirname(link), target)).lstrip("/")


def within_tree(link: str, target: str) -> str:
    """A link's target relative to the link, so that it resolves within the tree."""
    return posixpath.relpath(on_host(link, target), posixpath.dirname(link))
