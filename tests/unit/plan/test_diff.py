"""A plan as text: diffs of contents, one line for the rest, and no secrets."""

from __future__ import annotations

import json
from typing import Any

from deployer.model import Attributes, Handler, Observation
from deployer.plan.diff import plan_lines
from deployer.plan.model import Plan
from deployer.plan.plan import make_plan
from deployer.plan.wire import plan_for_output, plan_to_json
from deployer.resources import Origin, from_task

RELOAD = Handler(name="reload nginx", action="reload", unit="nginx")


def plan_of(
    module: str,
    args: dict[str, Any],
    there: Attributes | None = None,
    *,
    content: bytes | None = None,
    **origin: Any,
) -> Plan:
    resources = from_task(module, args, Origin(**origin))
    observations = {
        one.id: Observation(resource_id=one.id, attributes=there, fingerprint="f", content=content)
        for one in resources
    }
    return make_plan(
        host="web1",
        created_at="2026-01-01T00:00:00+00:00",
        desired=resources,
        handlers={"reload nginx": RELOAD},
        observations=observations,
    )


def text_of(plan: Plan) -> str:
    return "\n".join("    " * line.indent + line.text for line in plan_lines(plan))


def test_a_changed_text_is_a_unified_diff() -> None:
    plan = plan_of(
        "copy",
        {"dest": "/etc/x.conf", "content": b"a\nnew\n", "mode": "0644"},
        {"type": "file", "sha256": "old", "size": 6, "mode": "0600"},
        content=b"a\nold\n",
        reason="Write the config",
        notify=("reload nginx",),
    )
    assert text_of(plan).splitlines() == [
        "~ file /etc/x.conf  (mode 0600 → 0644)",
        "    Write the config",
        "    @@ -1,2 +1,2 @@",
        "     a",
        "    -old",
        "    +new",
        "! handler reload nginx  (because /etc/x.conf changes)",
    ]


def test_an_added_final_line_break_is_shown() -> None:
    old = {"type": "file", "sha256": "old", "size": 1}
    plan = plan_of("copy", {"dest": "/x", "content": b"a\n"}, old, content=b"a")
    assert "the final line break is added" in text_of(plan)


def test_a_removed_text_is_shown_as_removed() -> None:
    old = {"type": "file", "sha256": "old", "size": 2, "mode": "0644"}
    plan = plan_of("file", {"path": "/x", "state": "absent"}, old, content=b"a\n")
    assert text_of(plan).splitlines() == ["- file /x", "    @@ -1 +0,0 @@", "    -a"]


def test_a_binary_is_not_shown() -> None:
    plan = plan_of("copy", {"dest": "/x", "content": b"\0\1"})
    assert "no text to compare" in text_of(plan)


def test_one_line_for_services_packages_links_and_users() -> None:
    state = {"name": "nginx", "state": "started", "enabled": True}
    there = {"active": False, "enabled": True}
    assert text_of(plan_of("service", state, there)) == ("~ service nginx  (start)")
    link = {"path": "/l", "state": "link", "src": "/new"}
    assert text_of(plan_of("file", link, {"type": "link", "target": "/old"})) == (
        "~ link /l  (target /old → /new)"
    )
    packages = {"names": ["nginx"], "state": "present"}
    assert text_of(plan_of("package", packages)).splitlines()[0] == "+ package nginx"


def secret_plan(there: Attributes | None = None) -> Plan:
    args = {"dest": "/etc/key.pem", "content": b"hunter2" * 3, "mode": "0600"}
    return plan_of("copy", args, there, secret=True)


def test_only_the_size_of_a_secret_is_shown() -> None:
    assert text_of(secret_plan()) == "+ file /etc/key.pem  (secret, 21 bytes, mode 0600)"
    there = {"type": "file", "sha256": "x", "size": 1704, "mode": "0600"}
    assert text_of(secret_plan(there)) == (
        "~ file /etc/key.pem  (secret, 1,704 bytes → 21 bytes, changed)"
    )


def test_neither_text_nor_json_contains_a_secret_or_its_hash() -> None:
    plan = secret_plan()
    shown = json.dumps(plan_for_output(plan)) + text_of(plan)
    digest = (plan.changes[0].after or {})["sha256"]
    assert "hunter2" not in shown
    assert digest not in shown
    assert "aHVudGVyMg" not in shown
    assert digest in json.dumps(plan_to_json(plan))


def test_the_arguments_of_a_secret_command_are_not_shown() -> None:
    args = {"argv": ["login", "hunter2"], "creates": "/x"}
    plan = plan_of("command", args, {"done": False}, secret=True, reason="Log in")
    shown = json.dumps(plan_for_output(plan)) + text_of(plan)
    assert "hunter2" not in shown
    assert text_of(plan) == "~ command Log in  (secret)"


def test_no_free_text_of_a_secret_user_or_link_is_shown() -> None:
    user = plan_of("user", {"name": "app", "uid": 900, "comment": "hunter2"}, secret=True)
    link = plan_of("file", {"path": "/a", "state": "link", "src": "/hunter2"}, secret=True)
    for plan in (user, link):
        assert "hunter2" not in text_of(plan)
        assert "secret" in text_of(plan)
        assert "hunter2" not in json.dumps(plan_for_output(plan))
    assert "uid 900" in text_of(user)


KEY = b"-----BEGIN EC PRIVATE KEY-----\nhunter2\n-----END EC PRIVATE KEY-----\n"


def test_a_private_key_is_secret_without_being_marked() -> None:
    seen: Attributes = {"type": "file", "sha256": "0", "size": 9, "mode": "0644"}
    copied = plan_of("copy", {"dest": "/etc/tls.key", "content": KEY})
    replaced = plan_of("copy", {"dest": "/k", "content": b"new\n"}, seen, content=KEY)
    removed = plan_of("file", {"path": "/k", "state": "absent"}, seen, content=KEY)
    for plan in (copied, replaced, removed):
        assert "hunter2" not in text_of(plan)
        assert "hunter2" not in json.dumps(plan_for_output(plan))
        assert "secret" in text_of(plan)
    assert "mode 0600" in text_of(copied)
