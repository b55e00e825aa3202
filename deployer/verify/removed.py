"""Verify that the names of removed sites stop answering.

What a proxy answers for a name that it does not serve depends on its default: a refusal, 404, a
welcome page, another site's redirect. So each name is compared with an unknown name of the same
domain: both must get the same answer, at ``/`` and at the paths of the site's WebSockets.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deployer.model import UNFINISHED, CheckResult, Finding, HandshakeResult
from deployer.sites.model import RemovedSite
from deployer.sites.values import is_address
from deployer.verify.net.access import Access, translate_errors
from deployer.verify.net.http1 import read_head, request
from deployer.verify.net.stream import Cancelled, Deadline, send
from deployer.verify.net.tls import TlsStream
from deployer.verify.planned.probes import USER_AGENT
from deployer.verify.planned.routing import concrete
from deployer.verify.probe.attempt import Failure, printable
from deployer.verify.probe.spec import Endpoint

if TYPE_CHECKING:
    from deployer.verify.net.stream import Dial
    from deployer.verify.options import Limits, ProxyAddress

NAME = "no longer served"
_PAUSE_S = 0.1
#: How long all comparisons of one name may take.
_LONGEST_S = 30.0
#: An address of no host (RFC 5737), to compare addresses with.
_UNKNOWN_ADDRESS = "203.0.113.77"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The parts of an answer that show who gave it; `problem` is why there is none."""

    status: int | None = None
    location: str = ""
    certificate: str = ""
    problem: str = ""

    @property
    def words(self) -> str:
        """``answers 301 to https://other.example/``."""
        if self.status is None:
            return f"gives no answer ({self.problem})"
        to = f" to {printable(self.location)}" if self.location else ""
        return f"answers {self.status}{to}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    endpoint: Endpoint
    target: str
    is_upgrade: bool

    def url(self, name: str) -> str:
        scheme = "ws" if self.is_upgrade else "http"
        return f"{scheme}{'s' * self.endpoint.tls}://{name}{self.target}"


def verify_removed(
    sites: Sequence[RemovedSite],
    *,
    dial: Dial,
    limits: Limits,
    proxy: ProxyAddress,
    on_result: Callable[[CheckResult], None] | None = None,
) -> list[CheckResult]:
    """Check each name of `sites`; one result for each, in order.

    Raises:
        DeployerError: `dial` lost the host itself.
    """
    results = []
    for site in sites:
        for name in site.names:
            access = Access(
                dial=dial,
                timeout_s=limits.timeout_s,
                until=Deadline(_LONGEST_S + limits.patience_s, interrupt=limits.interrupt),
            )
            settling = Deadline(limits.patience_s, within=access.until)
            result = _checked(site, concrete(name), access, settling, proxy)
            results.append(result)
            if on_result is not None:
                on_result(result)
    return results


def _checked(
    site: RemovedSite, name: str, access: Access, settling: Deadline, proxy: ProxyAddress
) -> CheckResult:
    began = time.monotonic()
    unknown = _unknown_name(name)
    place: _Place | None = None
    found = like = Answer()
    try:
        for place in _places(site, proxy):
            while True:
                found = _answer(place, name, access)
                like = _answer(place, unknown, access)
                if found == like or settling.has_passed():
                    break
                access.until.pause(_PAUSE_S)  # old workers may still serve the site
            if found != like:
                break
    except Cancelled:
        return CheckResult(
            site=site.domain, name=NAME, target=name, hop="proxy", ok=False, detail=UNFINISHED
        )
    seconds = time.monotonic() - began
    assert place is not None  # noqa: S101 - every site has a port
    if found == like:
        return CheckResult(
            site=site.domain,
            name=NAME,
            target=name,
            hop="proxy",
            ok=True,
            detail=f"{found.words}, as any unknown name",
            seconds=seconds,
        )
    return CheckResult(
        site=site.domain,
        name=NAME,
        target=name,
        hop="proxy",
        ok=False,
        detail=f"{place.url(name)} {found.words}; an unknown name {like.words}",
        seconds=seconds,
        handshake=HandshakeResult(
            uri=place.url(name), hop="proxy", status_code=found.status, error=found.problem or None
        ),
        finding=_finding(name, place, found, like),
    )


def _places(site: RemovedSite, proxy: ProxyAddress) -> Iterator[_Place]:
    line = site.proxy_protocol
    plain = Endpoint(host=proxy.host, port=proxy.http_port, proxy_line=line)
    secure = Endpoint(host=proxy.host, port=proxy.https_port, tls=True, proxy_line=line)
    served = (plain, secure) if site.has_tls else (plain,)
    if site.port is not None:
        served = (replace(secure if site.has_tls else plain, port=site.port),)
    for endpoint in served:
        yield _Place(endpoint=endpoint, target="/", is_upgrade=False)
        for path in site.paths:
            yield _Place(endpoint=endpoint, target=path, is_upgrade=True)


def _unknown_name(name: str) -> str:
    """A name that no one serves: a wildcard that covers `name` covers it too."""
    if is_address(name):
        return _UNKNOWN_ADDRESS
    label = f"unknown-{secrets.token_hex(4)}"
    parent = name.partition(".")[2]
    return f"{label}.{parent}" if parent else label


def _answer(place: _Place, name: str, access: Access) -> Answer:
    headers = [("Host", name), USER_AGENT]
    if place.is_upgrade:
        origin = f"http{'s' * place.endpoint.tls}://{name}"
        headers += [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", base64.b64encode(secrets.token_bytes(16)).decode()),
            ("Sec-WebSocket-Version", "13"),
            ("Origin", origin),
        ]
    else:
        headers.append(("Connection", "close"))
    try:
        return _asked(place, name, tuple(headers), access)
    except Failure as failure:
        return Answer(problem=failure.words)


def _asked(
    place: _Place, name: str, headers: tuple[tuple[str, str], ...], access: Access
) -> Answer:
    server_name = None if is_address(name) else name
    with access.connect(place.endpoint, server_name=server_name, timings_s={}) as stream:
        certificate = b""
        if isinstance(stream, TlsStream):
            certificate = stream.tls.getpeercert(binary_form=True) or b""
        deadline = access.step()
        with translate_errors("the request", access.timeout_s):
            send(stream, request(place.target, headers), deadline)
            head = read_head(stream, deadline)
    locations = head.values("Location")
    return Answer(
        status=head.status_code,
        location=locations[0].replace(name, "NAME") if locations else "",
        certificate=hashlib.sha256(certificate).hexdigest() if certificate else "",
    )


def _finding(name: str, place: _Place, found: Answer, like: Answer) -> Finding:
    return Finding(
        code="name-still-served",
        hop="proxy",
        symptom=f"{place.url(name)} {found.words}, but an unknown name {like.words}",
        cause=f"{name} was removed from the playbook, and something on the host still serves it: a"
        " configuration that deployer did not write, or another proxy.",
        fix=f"Remove {name} from that configuration, or leave it in the playbook.",
    )
