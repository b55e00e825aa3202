"""Selection of tasks by ``--tags`` and ``--skip-tags``.

Source: "Tags" in Ansible's playbook guide.
"""

from __future__ import annotations


def selected(
    tags: frozenset[str], *, wanted: frozenset[str] | None, skipped: frozenset[str] = frozenset()
) -> bool:
    """Whether a task with `tags` runs; `wanted` is `None` without ``--tags``."""
    if tags & skipped or ("all" in skipped and "always" not in tags):
        return False
    if ("tagged" in skipped and tags) or ("untagged" in skipped and not tags):
        return False
    if wanted is None or "all" in wanted:
        return "never" not in tags or bool(wanted and tags & (wanted - {"all"}))
    if tags & wanted:
        return True
    if "always" in tags:
        return True
    if "tagged" in wanted:
        return bool(tags) and "never" not in tags
    return "untagged" in wanted and not tags
