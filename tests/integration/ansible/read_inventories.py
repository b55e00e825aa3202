"""Runs in Ansible's own environment: what its programs print about many inventories.

Standard input is a list of jobs in JSON: an inventory, patterns, a playbook's folder or null. The
output has the result of each. One process for all of them, as Ansible is slow to start.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from ansible.cli.adhoc import AdHocCLI  # type: ignore[import-not-found]
from ansible.cli.inventory import InventoryCLI  # type: ignore[import-not-found]


def printed(program: Any, *arguments: str) -> str | None:
    """The standard output of one of Ansible's programs; `None` if it fails."""
    reading, writing = os.pipe()
    child = os.fork()  # its state is global, and importing it takes longest
    if child == 0:
        os.dup2(writing, 1)
        status = 1
        try:
            status = program(list(arguments)).run() or 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        except BaseException as error:
            print(arguments, repr(error), file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as output:
        text = output.read()
    return text if os.waitpid(child, 0)[1] == 0 else None


def result(job: dict[str, Any]) -> dict[str, Any]:
    inventory = ["-i", job["inventory"]]
    folder = ["--playbook-dir", job["folder"]] if job["folder"] else []
    listed = printed(InventoryCLI, "ansible-inventory", *inventory, *folder, "--list")
    hosts = {}
    for pattern, limit in job["patterns"]:
        limits = ["--limit", limit] if limit else []
        text = printed(AdHocCLI, "ansible", pattern, *inventory, *limits, "--list-hosts")
        lines = None if text is None else [line.strip() for line in text.splitlines()]
        hosts[f"{pattern} {limit or ''}".strip()] = lines and lines[1:]
    return {"list": None if listed is None else json.loads(listed), "hosts": hosts}


print(json.dumps([result(job) for job in json.load(sys.stdin)]))
