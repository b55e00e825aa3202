"""Connect as every client does: look names up in DNS, and connect from this machine.

`PublicDial` is a `Dial` like the one through SSH to the host. Every wait in it is limited, even of
the system's resolver, which has no limit; an interrupt ends it within a tenth of a second.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import select
import socket as sockets
import threading
import time
from collections.abc import Iterable, Mapping

from deployer.errors import UsageError
from deployer.verify.net.lookup import Lookup

_LOOKUP_S = 5.0
_SLICE_S = 0.1
#: One of several addresses may hang; the next one is tried before the time is used up.
_SHARE = 0.5

Overrides = Mapping[tuple[str, int], str]


class PublicDial:
    """Opens streams from this machine: ``dial(host=NAME or ADDRESS, port=…, timeout_s=…)``.

    `overrides` replace DNS: ``{(name, port): "10.0.0.1,[2001:db8::1]"}``. Names are looked up once;
    the results are kept as long as the dial exists.
    """

    def __init__(
        self,
        overrides: Overrides | None = None,
        *,
        family: sockets.AddressFamily = sockets.AF_UNSPEC,
        interrupt: threading.Event | None = None,
    ) -> None:
        self._overrides = {
            (name.lower().rstrip("."), port): addresses
            for (name, port), addresses in (overrides or {}).items()
        }
        self._family = family
        self._interrupt = interrupt or threading.Event()
        self._known: dict[tuple[str, int], Lookup] = {}
        self._lock = threading.Lock()

    def addresses(self, name: str, port: int) -> tuple[str, ...]:
        """Return the addresses of `name`; none if it does not resolve within five seconds."""
        return self.lookup(name, port).addresses

    def lookup(self, name: str, port: int) -> Lookup:
        """Return the addresses with the time that the lookup took, or the reason for none."""
        key = (name.lower().rstrip("."), port)
        with self._lock:
            known = self._known.get(key)
        if known is None:
            known = self._looked_up(*key)
            with self._lock:
                self._known[key] = known
        return known

    def __call__(
        self, *, host: str = "", port: int = 0, socket: str = "", timeout_s: float
    ) -> sockets.socket:
        """Return a TCP socket connected to the first address that answers.

        Raises: OSError (or its subclasses TimeoutError and ConnectionRefusedError) of the last
        address.
        """
        if socket:
            raise OSError(errno.EAFNOSUPPORT, "a unix socket is only reachable on its own host")
        until = time.monotonic() + timeout_s
        found = self.lookup(host, port)
        if not found.addresses:
            raise sockets.gaierror(sockets.EAI_NONAME, found.problem)
        last: OSError = TimeoutError("timed out")
        for number, address in enumerate(found.addresses, start=1):
            left_s = until - time.monotonic()
            share = 1.0 if number == len(found.addresses) else _SHARE
            if left_s <= 0:
                break
            try:
                return self._connect(address, port, left_s * share)
            except OSError as error:
                last = error
        raise last

    def _looked_up(self, name: str, port: int) -> Lookup:
        given = self._overrides.get((name, port))
        if given is not None:
            addresses = tuple(each.strip("[] ") for each in given.split(","))
            return Lookup(name=name, addresses=addresses, is_overridden=True)
        with contextlib.suppress(ValueError):
            return Lookup(name=name, addresses=(str(ipaddress.ip_address(name.strip("[]"))),))
        return self._asked(name, port)

    def _asked(self, name: str, port: int) -> Lookup:
        """Ask the resolver; one that hangs is abandoned in its own thread."""
        answers: list[tuple[str, ...] | Exception] = []
        has_answered = threading.Event()

        def ask() -> None:
            try:
                answers.append(_resolved(name, port, self._family))
            except (OSError, UnicodeError) as error:
                answers.append(error)
            has_answered.set()

        began = time.monotonic()
        threading.Thread(target=ask, name="dns", daemon=True).start()
        while not has_answered.wait(_SLICE_S):
            if self._interrupt.is_set() or time.monotonic() - began > _LOOKUP_S:
                break
        took = time.monotonic() - began
        if not answers:
            problem = f"DNS did not answer within {_LOOKUP_S:g} s"
            return Lookup(name=name, problem=problem, seconds=took)
        answer = answers[0]
        if isinstance(answer, Exception):
            return Lookup(name=name, problem=_why(answer), seconds=took)
        return Lookup(name=name, addresses=answer, seconds=took)

    def _connect(self, address: str, port: int, timeout_s: float) -> sockets.socket:
        family = sockets.AF_INET6 if ":" in address else sockets.AF_INET
        line = sockets.socket(family, sockets.SOCK_STREAM)
        try:
            line.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
            line.setblocking(False)
            code = line.connect_ex((address, port))
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, os.strerror(code))
            self._wait(line, timeout_s)
            code = line.getsockopt(sockets.SOL_SOCKET, sockets.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            line.settimeout(timeout_s)
        except BaseException:
            line.close()
            raise
        return line

    def _wait(self, line: sockets.socket, timeout_s: float) -> None:
        """Wait until `line` is connected, or has failed."""
        poll = select.poll()
        poll.register(line, select.POLLOUT)
        until = time.monotonic() + timeout_s
        while not poll.poll(_SLICE_S * 1000):
            if self._interrupt.is_set() or time.monotonic() >= until:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


def _resolved(name: str, port: int, family: sockets.AddressFamily) -> tuple[str, ...]:
    found = sockets.getaddrinfo(name, port, family=family, type=sockets.SOCK_STREAM)
    return tuple(dict.fromkeys(str(info[4][0]) for info in found))


def _why(error: Exception) -> str:
    if isinstance(error, sockets.gaierror):
        if error.errno in (sockets.EAI_NONAME, getattr(sockets, "EAI_NODATA", sockets.EAI_NONAME)):
            return "does not resolve: DNS has no address for it"
        return f"does not resolve: {(error.strerror or str(error)).lower()}"
    return f"does not resolve: {error}"


def overrides_from(given: Iterable[str]) -> dict[tuple[str, int], str]:
    """Parse ``--resolve NAME:PORT:ADDRESS[,ADDRESS]`` as in curl, IPv6 addresses in brackets.

    Raises: UsageError for any other form.
    """
    overrides: dict[tuple[str, int], str] = {}
    for text in given:
        name, _, rest = text.partition(":")
        port, _, addresses = rest.partition(":")
        try:
            number = int(port)
            for each in addresses.split(","):
                ipaddress.ip_address(each.strip("[] "))
        except ValueError:
            number = 0
        if not name or not 0 < number < 65536:
            raise UsageError(
                f"--resolve {text}: not of the form NAME:PORT:ADDRESS; no host was touched",
                hint="Example: --resolve chat.example.com:443:192.0.2.7",
            )
        overrides[(name.lower().rstrip("."), number)] = addresses
    return overrides
