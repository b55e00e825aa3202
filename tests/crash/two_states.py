"""The states that the rounds take a host to and fro between, as plans and as playbooks.

``A`` and ``B`` differ in everything that a commit can hold: files made, changed and removed, with
modes and owners, a folder, links, an account, a service of its own, a command, and a site of a
proxy that runs and is reloaded. ``C`` is ``B`` with one more package. ``D`` differs from ``A`` in
less: files, a link, a service of its own and the site; so it has fewer steps, and all can be tried.
"""

from __future__ import annotations

from typing import Any

import yaml

from tests.support.agent.process import change, file_change

#: From each state to those that a round may lead to.
NEXT = {"A": ("B", "C"), "B": ("A",), "C": ("A",), "D": ("A",)}

_SLEEPER = "[Service]\nExecStart=/bin/sleep infinity\n{}\n[Install]\nWantedBy=multi-user.target\n"
_UNIT = _SLEEPER.format("User=crashy\n")
_UNIT_PATH = "/etc/systemd/system/crash.service"
_DATA = "/srv/crash/data"
_SITE_PATH = "/etc/nginx/conf.d/crash.conf"
_MADE = ["/bin/sh", "-c", f"echo made > {_DATA}/made"]
PACKAGE = "goaccess"


def _site(state: str) -> str:
    return f'server {{\n    listen 127.0.0.1:8099;\n    return 200 "{state}";\n}}\n'


def _file(path: str, text: str, *, mode: str = "0644", owner: str = "root") -> dict[str, Any]:
    return file_change(path, text.encode(), mode=mode, owner=owner, group=owner)


def _link(target: str) -> dict[str, Any]:
    return change("link:/etc/crash.d/current", {"type": "link", "target": target})


def changes_to(state: str, *, start: str, fails: bool = False) -> list[dict[str, Any]]:
    """The changes of a plan from the state `start` ("" is a fresh host) to `state`.

    Where it `fails`, the last of them cannot be carried out.
    """
    if "D" in (state, start):
        return _changes_of_less(state)
    letter = "A" if state == "A" else "B"
    found = [
        _file("/etc/crash.conf", f"state {letter}\n", mode="0600" if letter == "B" else "0644"),
        _file(f"/etc/crash.d/only-{letter}", "here\n"),
        _link(f"only-{letter}"),
    ]
    if letter == "B":
        found = [
            change("user:crashy", {"system": True, "create_home": False, "shell": "/bin/false"}),
            *found,
            change("file:/etc/crash.d/only-A", None),
            change(f"directory:{_DATA}", {"type": "directory", "mode": "0750", "owner": "crashy"}),
            _file(f"{_DATA}/settings", "secret\n", mode="0640", owner="crashy"),
            change(
                "command:make",
                {"done": True, "argv": _MADE, "creates": [f"{_DATA}/made"], "removes": [],
                 "unless": [], "chdir": None, "environment": {}},
            ),
            _file(_UNIT_PATH, _UNIT),
            change("service:crash", {"enabled": True, "active": True}),
        ]  # fmt: skip
    elif start:
        found += [
            change("file:/etc/crash.d/only-B", None),
            change("service:crash", {"enabled": False, "active": False}),
            change(f"file:{_UNIT_PATH}", None),
            change("directory:/srv/crash", None),
            change("user:crashy", None),
        ]
    if "C" in (state, start):
        found.insert(0, change(f"package:{PACKAGE}", {} if state == "C" else None))
    found.append(_file(_SITE_PATH, _site(letter)))
    if fails:
        found.append(
            change(
                "command:fail",
                {"done": True, "argv": ["/bin/false"], "creates": ["/etc/never"], "removes": [],
                 "unless": [], "chdir": None, "environment": {}},
            )
        )  # fmt: skip
    return found


def _changes_of_less(state: str) -> list[dict[str, Any]]:
    is_less = state == "D"
    unit = _file(_UNIT_PATH, _SLEEPER.format("")) if is_less else change(f"file:{_UNIT_PATH}", None)
    service = change("service:crash", {"enabled": is_less, "active": is_less})
    return [
        _file("/etc/crash.conf", f"state {state}\n", mode="0600" if is_less else "0644"),
        _link(f"only-{state}"),
        *((unit, service) if is_less else (service, unit)),
        _file(_SITE_PATH, _site(state)),
    ]


def handlers() -> list[dict[str, Any]]:
    """The reload of the proxy that every plan ends with."""
    about = {"name": "reload nginx", "action": "reload", "unit": "nginx", "argv": [],
             "config_test": ["nginx", "-t", "-q"]}  # fmt: skip
    return [{"stage": 0, "because": [f"file:{_SITE_PATH}"], "handler": about}]


def playbook_to(state: str, *, start: str) -> str:
    """The same as a playbook."""
    tasks: list[dict[str, Any]] = []
    notify = "reload nginx"
    import base64

    for item in changes_to(state, start=start):
        kind, _, name = item["resource_id"].partition(":")
        after = item["after"]
        task: dict[str, Any]
        if kind == "package":
            task = {"package": {"name": name, "state": "absent" if after is None else "present"}}
        elif after is None:
            is_user = kind == "user"
            task = {"user": {"name": name, "state": "absent"}} if is_user else {
                "file": {"path": name, "state": "absent"}}  # fmt: skip
        elif kind == "file":
            content = base64.b64decode(item["after_content_b64"]).decode()
            rights = {key: after[key] for key in ("mode", "owner", "group")}
            task = {"copy": {"dest": name, "content": content, **rights}}
        elif kind == "directory":
            rights = {key: after[key] for key in ("mode", "owner")}
            task = {"file": {"path": name, "state": "directory", **rights}}
        elif kind == "link":
            task = {"file": {"path": name, "state": "link", "src": after["target"]}}
        elif kind == "user":
            task = {"user": {"name": name, **after}}
        elif kind == "service":
            running = "started" if after["active"] else "stopped"
            task = {"service": {"name": name, "enabled": after["enabled"], "state": running}}
        else:
            task = {"command": {"argv": after["argv"], "creates": after["creates"][0]}}
        if name == _SITE_PATH:
            task["notify"] = notify
        tasks.append(task)
    reload = {"name": notify, "service": {"name": "nginx", "state": "reloaded"}}
    play = {"hosts": "all", "tasks": tasks, "handlers": [reload]}
    return yaml.safe_dump([play], sort_keys=False)
