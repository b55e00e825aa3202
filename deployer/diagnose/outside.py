"""Send a browser's requests from this machine, and variants that distinguish causes of failures.

Everything has a time limit and a size limit; at most four connections are open at once.
"""

from __future__ import annotations

import errno
import secrets
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

from deployer.diagnose import handshake_variants
from deployer.diagnose.handshake_variants import HandshakeOptions, Variant
from deployer.model import HandshakeResult
from deployer.verify.net.access import Access
from deployer.verify.net.address import Address
from deployer.verify.net.lookup import Lookup
from deployer.verify.net.stream import Cancelled
from deployer.verify.page import websockets
from deployer.verify.page.fetch import fetch_document
from deployer.verify.page.websockets import PageWebSocket
from deployer.verify.probe.attempt import Attempt, Failure
from deployer.verify.probe.certificate import attempt_tls
from deployer.verify.probe.h2c_variants import attempt_variants
from deployer.verify.probe.handshake import attempt_upgrade
from deployer.verify.probe.http_get import attempt_get
from deployer.verify.probe.old_tls import attempt_old_tls
from deployer.verify.probe.spec import (
    Http2Probe,
    OldTlsProbe,
    Probe,
    TlsProbe,
    UpgradeProbe,
    VariantsProbe,
)
from deployer.verify.public.dial import PublicDial

_Name = TypeVar("_Name", bound=str)

_AT_ONCE = 4
_MOST_ADDRESSES = 8
_MOST_REDIRECTS = 10
_CONNECT_S = 5.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})

#: The TLS handshake succeeded, but the certificate is not accepted.
_ONLY_DISTRUSTED = frozenset(
    {"tls-untrusted", "tls-wrong-name", "tls-incomplete-chain", "tls-expired"}
)

#: Failures before any request could be sent.
CONNECT_FAILURES = frozenset(
    {"refused", "unreachable", "no-way", "no-tls", "tls-failed", "tls-closed", "tls-stalled"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectResult:
    """A connection to one address of the name.

    `problem` is ``refused``, ``silent`` (no answer), ``no-way`` (this machine has no route),
    ``lost``, or empty if the connection was accepted.
    """

    address: str
    port: int
    problem: str = ""
    words: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One redirect that was followed: its target, and the response there."""

    location: str
    address: Address | None
    attempt: Attempt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """All observations of one address; what was not tried is `None` or missing.

    `other_connections` are connections to the same addresses on the other scheme's port, tried when
    none of `connections` succeeds. `steps` are the redirects of the handshake, `target_handshake`
    is the handshake at their end. `speaks_tls`: a port that drops plain HTTP accepts TLS.
    """

    address: Address
    options: HandshakeOptions
    lookup: Lookup
    connections: tuple[ConnectResult, ...] = ()
    other_connections: tuple[ConnectResult, ...] = ()
    certificate: Attempt | None = None
    handshake: Attempt | None = None
    plain: Attempt | None = None
    variants: Mapping[Variant, Attempt] = field(default_factory=dict)
    speaks_tls: bool = False
    steps: tuple[Step, ...] = ()
    target: Address | None = None
    target_handshake: Attempt | None = None
    seconds: float = 0.0

    @property
    def is_reached(self) -> bool:
        return any(not connection.problem for connection in self.connections)

    @property
    def is_stopped(self) -> bool:
        """Whether the TLS handshake failed, so that no request could be sent."""
        failure = self.certificate.failure if self.certificate else None
        return failure is not None and failure.code in CONNECT_FAILURES

    @property
    def handshake_origin(self) -> str:
        """The Origin of the handshake."""
        return self.address.origin if self.options.origin is None else self.options.origin

    def opened(self, *names: Variant) -> tuple[Variant, ...]:
        """Return the variants among `names` that were upgraded."""
        return tuple(
            name
            for name in names
            if name in self.variants and self.variants[name].status_code == 101
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PageObservations:
    """A page at the end of its redirects (`places`), and the WebSockets that it opens."""

    address: Address
    attempt: Attempt
    places: tuple[Address, ...] = ()
    is_endless: bool = False
    policies: tuple[str, ...] = ()
    opened: tuple[PageWebSocket, ...] = ()


class Outside:
    """Observes addresses from this machine, through `dial`."""

    def __init__(self, access: Access, dial: PublicDial) -> None:
        self._access = access
        self._dial = dial
        #: Every WebSocket that was observed, with the options of its handshake.
        self.asked: list[tuple[Address, HandshakeOptions]] = []

    def connect(self, address: Address) -> tuple[Lookup, tuple[ConnectResult, ...]]:
        """Look the name up, and connect to each of its addresses."""
        lookup = self._dial.lookup(address.name, address.port)
        return lookup, self._connect_all(lookup.addresses, address.port)

    def reached(self, address: Address, options: HandshakeOptions) -> Observations:
        """Observe only name, connections and certificate."""
        lookup, connections = self.connect(address)
        seen = Observations(
            address=address, options=options, lookup=lookup, connections=connections
        )
        if not seen.is_reached:
            other = 80 if address.is_secure else 443
            return self._ended(
                seen, None, other_connections=self._connect_all(lookup.addresses, other)
            )
        if not address.is_secure:
            return seen
        return self._ended(seen, None, certificate=self._attempt(certificate_probe(address)))

    def websocket(self, address: Address, options: HandshakeOptions) -> Observations:
        """Observe everything about a WebSocket's address."""
        self.asked.append((address, options))
        began = time.monotonic()
        lookup, connections = self.connect(address)
        seen = Observations(
            address=address, options=options, lookup=lookup, connections=connections
        )
        if not seen.is_reached:
            other = 80 if address.is_secure else 443
            return self._ended(
                seen, began, other_connections=self._connect_all(lookup.addresses, other)
            )
        first = self._all(
            {
                "handshake": handshake_variants.handshake(address, options),
                "plain": handshake_variants.plain(address, options),
                **({"certificate": certificate_probe(address)} if address.is_secure else {}),
            }
        )
        handshake, plain = first["handshake"], first["plain"]
        seen = self._ended(
            seen,
            began,
            handshake=handshake,
            plain=plain,
            certificate=first.get("certificate"),
        )
        failure = handshake.failure
        if failure is not None and failure.code in CONNECT_FAILURES | {"speaks-tls"}:
            return seen
        if not address.is_secure and handshake.status_code is None:
            over_tls = self._attempt(certificate_probe(replace(address, is_secure=True)))
            failure = over_tls.failure
            if failure is None or failure.code in _ONLY_DISTRUSTED:
                return self._ended(seen, began, speaks_tls=True)
        if handshake.status_code == 101:
            found = self._all(handshake_variants.when_open(address, options))
        else:
            nowhere = f"/{secrets.token_hex(6)}"
            asked = handshake_variants.when_refused(address, options, nowhere=nowhere)
            if handshake.seconds > self._access.timeout_s / 2:
                # A hanging server also hangs for other Origins, and each try costs a timeout.
                asked = {"nowhere": asked["nowhere"]}
            found = self._all(asked)
        seen = self._ended(seen, began, variants=found)
        if handshake.status_code in _REDIRECTS:
            seen = self._followed(seen, options)
        return self._ended(seen, began)

    def _followed(self, seen: Observations, options: HandshakeOptions) -> Observations:
        """Follow the redirects of the handshake, and try it at their end."""
        steps: list[Step] = []
        here, answer = seen.address, seen.handshake
        while answer is not None and answer.status_code in _REDIRECTS:
            location = next(
                (value for key, value in answer.answer.headers if key.lower() == "location"), ""
            )
            there = here.redirect_target(location) if location else None
            if there is None or len(steps) == _MOST_REDIRECTS:
                steps.append(Step(location=location, address=there))
                return self._ended(seen, None, steps=tuple(steps))
            been = [seen.address, *(step.address for step in steps if step.address)]
            if any(there.is_same_place(place) for place in been):
                steps.append(Step(location=location, address=there))
                return self._ended(seen, None, steps=tuple(steps))
            # Credentials are only sent to the server that they were given for.
            is_same = there.name == seen.address.name
            asked = options if is_same else HandshakeOptions(subprotocols=options.subprotocols)
            answer = self._attempt(handshake_variants.handshake(there, asked))
            steps.append(Step(location=location, address=there, attempt=answer))
            here = there
        return self._ended(seen, None, steps=tuple(steps), target=here, target_handshake=answer)

    @staticmethod
    def _ended(seen: Observations, began: float | None, **more: object) -> Observations:
        took = seen.seconds if began is None else time.monotonic() - began
        return replace(seen, seconds=took, **more)  # type: ignore[arg-type]

    def page(self, address: Address, options: HandshakeOptions) -> PageObservations:
        """Fetch a page, follow its redirects, and find the WebSockets that it opens."""
        places = [address]
        here = address
        while True:
            is_own = here.name == address.name  # only its server gets the credentials
            probe = handshake_variants.plain(here, options if is_own else HandshakeOptions())
            document = fetch_document(probe, self._access)
            attempt = document.attempt
            if attempt.status_code not in _REDIRECTS:
                break
            location = next(
                (value for key, value in attempt.answer.headers if key.lower() == "location"), ""
            )
            there = here.redirect_target(location) if location else None
            if there is None:
                break
            places.append(there)
            is_back = any(there.is_same_place(place) for place in places[:-1])
            if is_back or len(places) > _MOST_REDIRECTS:
                return PageObservations(
                    address=here, attempt=attempt, places=tuple(places), is_endless=True
                )
            here = there
        is_page = attempt.status_code == 200
        parts = websockets.parse_page(document.text) if is_page else websockets.Page()
        scripts = [
            fetch_document(handshake_variants.plain(each, HandshakeOptions()), self._access).text
            for each in websockets.scripts_to_read(parts, here)
        ]
        headers = [
            value
            for key, value in attempt.answer.headers
            if key.lower() == "content-security-policy"
        ]
        return PageObservations(
            address=here,
            attempt=attempt,
            places=tuple(places),
            policies=(*headers, *parts.policies),
            opened=websockets.websockets_of(parts, here, more=tuple(scripts)),
        )

    def handshake(self, address: Address, options: HandshakeOptions) -> Attempt:
        """Make a single handshake."""
        return self._attempt(handshake_variants.handshake(address, options))

    # --- connections ------------------------------------------------------------------------------

    def _connect_all(self, addresses: tuple[str, ...], port: int) -> tuple[ConnectResult, ...]:
        some = addresses[:_MOST_ADDRESSES]
        with ThreadPoolExecutor(max(1, len(some)), thread_name_prefix="connection") as pool:
            return tuple(pool.map(lambda address: self._connect(address, port), some))

    def _connect(self, address: str, port: int) -> ConnectResult:
        began = time.monotonic()
        problem = words = ""
        limit_s = min(_CONNECT_S, self._access.timeout_s)
        try:
            self._dial(host=address, port=port, timeout_s=limit_s).close()
        except ConnectionRefusedError:
            problem, words = "refused", "refuses connections"
        except TimeoutError:
            problem, words = "silent", f"does not answer within {limit_s:g} s"
        except OSError as error:
            problem = "no-way" if error.errno in _NO_ROUTE else "lost"
            words = (error.strerror or str(error)).lower()
        return ConnectResult(
            address=address,
            port=port,
            problem=problem,
            words=words,
            seconds=time.monotonic() - began,
        )

    def _all(self, probes: Mapping[_Name, Probe]) -> dict[_Name, Attempt]:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="outside") as pool:
            attempts = pool.map(self._attempt, probes.values())
            return dict(zip(probes, attempts, strict=True))

    def _attempt(self, probe: Probe) -> Attempt:
        try:
            if isinstance(probe, OldTlsProbe):
                return attempt_old_tls(probe, self._access)
            if isinstance(probe, TlsProbe):
                return attempt_tls(probe, self._access)
            if isinstance(probe, UpgradeProbe):
                return attempt_upgrade(probe, self._access)
            if isinstance(probe, Http2Probe):
                from deployer.verify.probe.http2_websocket import attempt_http2

                return attempt_http2(probe, self._access)
            if isinstance(probe, VariantsProbe):
                return attempt_variants(probe, self._access)
            return attempt_get(probe, self._access)
        except Cancelled:
            raise
        except TimeoutError:
            return _failed(probe, "timeout", "was not tried: the overall time limit has expired")
        except Exception as error:  # no peer may cause a crash
            return _failed(probe, "check-failed", f"could not be checked: {error}")


def certificate_probe(address: Address) -> TlsProbe:
    """Return the probe that verifies the certificate strictly."""
    return TlsProbe(
        uri=f"https://{address.host}",
        hop="public",
        endpoint=address.endpoint,
        server_name=address.name,
        issuer="",
    )


def _failed(probe: Probe, code: str, words: str) -> Attempt:
    answer = HandshakeResult(uri=probe.uri, hop=probe.hop, error=words)
    return Attempt(answer=answer, failure=Failure(code, words))
