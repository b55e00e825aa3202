"""The files that an apply would leave on a host, as a tree that people can read. Pure."""

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
    """A file or link of one host.

    `content` is a file's bytes, `target` what a link points to on the host. `left_out` says why it
    is not to be seen; then it has neither. `mode` is a file's, where the playbook sets it.
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
        """Where a link leads to on the host, as an absolute path."""
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
    made_up: Collection[bytes] = (),
) -> tuple[RenderedFile, ...]:
    """Every file with content and every link that is there in the end, by path.

    Args:
        secrets: texts that must not be shown, wherever they stand.
        made_up: contents that only stand in for those that an apply would make.
    """
    latest = {each.name: each for each in resources if each.kind in PATH_KINDS}
    found = (
        _rendered(host, latest[path], secrets=secrets, made_up=made_up) for path in sorted(latest)
    )
    return tuple(each for each in found if each is not None)


def _rendered(
    host: str, resource: Resource, *, secrets: Collection[str], made_up: Collection[bytes]
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
    left_out = _why_left_out(resource, resource.content, made_up)
    return RenderedFile(
        host=host,
        path=resource.name,
        kind="file",
        content=None if left_out else masked(resource.content, secrets),
        mode=attributes.get("mode"),
        left_out=left_out,
        source=resource.source,
    )


def _why_left_out(resource: Resource, content: bytes, made_up: Collection[bytes]) -> str:
    if holds_private_key(content):
        return "a private key"
    if resource.secret:
        return "secret"
    if content in made_up:
        return "a certificate that an apply makes"
    return ""


def in_tree(files: Iterable[RenderedFile]) -> Mapping[str, RenderedFile]:
    """What is to be seen, by where it lies below the folder of its host.

    A file below a link lies where the link leads to, as it does on the host.
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
    """Where a link leads to, as an absolute path; nothing is above the root."""
    return "/" + posixpath.normpath(posixpath.join(posixpath.dirname(link), target)).lstrip("/")


def within_tree(link: str, target: str) -> str:
    """A link's target from where the link lies, so that it stays in the tree and leads the same
    way there."""
    return posixpath.relpath(on_host(link, target), posixpath.dirname(link))
