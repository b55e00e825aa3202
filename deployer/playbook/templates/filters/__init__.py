"""The filters and tests of Ansible that Jinja2 does not have, or has in a different form.

Source: "Using filters to manipulate data" and "Tests" in Ansible's playbook guide, and
ansible-core 2.19, with which the tests compare each of them.
"""

from __future__ import annotations

from collections.abc import Callable

from deployer.model import Value
from deployer.playbook.templates.filters import (
    data,
    escaping,
    jinja,
    scalars,
    serial,
    strings,
    versions,
)

_NO_HASH = "its salt would differ in each plan; keep the hash itself in a secret vars file"
_USE_VARS_FILE = "keep secrets in a vars_files file with secret: true"
_NOT_HERE = "a plan must not depend on the machine where it is made"
#: Filters and tests of Ansible that are not supported, and why.
REFUSED = {
    "expanduser": _NOT_HERE,
    "expandvars": _NOT_HERE,
    "fileglob": _NOT_HERE,
    "password_hash": _NO_HASH,
    "realpath": _NOT_HERE,
    "unvault": _USE_VARS_FILE,
    "vault": _USE_VARS_FILE,
    **dict.fromkeys(("directory", "exists", "file", "link", "link_exists", "mount"), _NOT_HERE),
    **dict.fromkeys(
        ("changed", "failed", "skipped", "succeeded", "success"), "tasks have no results here"
    ),
}

FILTERS: dict[str, Callable[..., Value]] = {
    **jinja.FILTERS,
    **data.FILTERS,
    **scalars.FILTERS,
    **serial.FILTERS,
    **strings.FILTERS,
}
FILTERS |= {f"ansible.builtin.{name}": each for name, each in FILTERS.items()}
FILTERS |= escaping.FILTERS

TESTS: dict[str, Callable[..., bool]] = {
    **data.TESTS,
    **scalars.TESTS,
    **strings.TESTS,
    **versions.TESTS,
}
TESTS |= {f"ansible.builtin.{name}": each for name, each in TESTS.items()}
