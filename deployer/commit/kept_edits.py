"""Files that a rollback left alone because they were edited after the commit, with diffs. Pure."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping

from deployer.model import Document
from deployer.plan.diff import text_diff
from deployer.plan.wire import as_text
from deployer.resources import holds_private_key
from deployer.text.redaction import masked


def kept_edits(reply: Document, *, secrets: Collection[str] = ()) -> tuple[Mapping[str, str], ...]:
    """The items under ``kept`` in a reply to ``revert``: `path`, `why`, and `diff` of a text file.

    The diff is from the file's content before the commit to its content now.
    """
    return tuple(_item(item, secrets) for item in reply.get("kept", ()))


def _item(item: Document, secrets: Collection[str]) -> Mapping[str, str]:
    about = {"path": str(item["path"]), "why": str(item["why"])}
    if "former_b64" not in item or "now_b64" not in item:
        return about
    contents = [_content(item[key]) for key in ("former_b64", "now_b64")]
    texts = [as_text(content) for content in contents]
    if None in texts or any(holds_private_key(content) for content in contents):
        return about
    before, after = (masked(text or "", secrets) for text in texts)
    return {**about, "diff": "\n".join(text_diff(before, after))}


def _content(encoded: str | None) -> bytes:
    return b"" if encoded is None else base64.b64decode(encoded)
