"""What a caller may say about how a host is reached."""

from __future__ import annotations

from dataclasses import dataclass, field

DEFAULT_CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectOptions:
    """How to reach a host and become root on it; the passwords are in no `repr`.

    `user` and `password` are for hosts whose inventory sets none. `connect_timeout_s` limits each
    step of a connection: name, TCP, key exchange, login, channel.
    A host that is silent for `silence_timeout_s` while it works on a request counts as gone: the
    runner sends a sign of life every 5 s. `accept_new` remembers the keys of hosts never seen
    before; a changed key is refused all the same.
    """

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    connect_timeout_s: float = DEFAULT_CONNECT_TIMEOUT_S
    silence_timeout_s: float = 30.0
    accept_new: bool = False
    become: bool = False
    become_password: str | None = field(default=None, repr=False)
    install_python: bool = False
