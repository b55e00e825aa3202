"""The options of a connection to a host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deployer.text.connection import last_set

DEFAULT_CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectOptions:
    """How to connect to a host and become root; no `repr` contains a password.

    `user` and `password` are for hosts whose inventory sets none, and so are `defaults`: the
    settings of ansible.cfg under the names of variables. `connect_timeout_s` limits each step of a
    connection: name, TCP, key exchange, login, channel.
    A host without any message for `silence_timeout_s` during a request counts as lost: the agent
    sends a sign of life every 5 s. `accept_new` records the keys of unknown hosts; a changed key is
    rejected anyway.
    """

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    connect_timeout_s: float = DEFAULT_CONNECT_TIMEOUT_S
    silence_timeout_s: float = 30.0
    accept_new: bool = False
    become: bool = False
    become_password: str | None = field(default=None, repr=False)
    install_python: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def value(self, variables: Mapping[str, Any], names: tuple[str, ...]) -> Any:
        """A connection variable of a host, or the setting of ansible.cfg, or `None`."""
        found = last_set(variables, names)
        return last_set(self.defaults, names) if found is None else found
