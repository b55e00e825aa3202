"""A request to a name that a proxy serves, and the answer: frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deployer.proxies.inspect.names import Answering

Kind = Literal["page", "websocket", "connection"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourRequest:
    """One request to `served`: for a page, for a WebSocket, or only a connection."""

    served: Answering
    kind: Kind
    path: str = "/"

    @property
    def url(self) -> str:
        """``wss://intern.example.com/ws``, as it is shown."""
        url = self.served.url
        if self.kind == "websocket":
            url = url.replace("http", "ws", 1)
        return url + ("" if self.kind == "connection" else self.path)

    @property
    def shown(self) -> str:
        """The URL, with what it does not show."""
        served = self.served
        is_elsewhere = served.asked and not served.address.startswith(("127.", "::1"))
        details = [served.details, f"at {served.address}" if is_elsewhere else ""]
        words = ", ".join(filter(None, details))
        return f"{self.url} ({words})" if words else self.url


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourAnswer:
    """What came back.

    Attributes:
        failure: why there was no answer, as the end of a sentence; empty if there was one.
        is_late: there was none within the time limit of a request.
        status: of the response; `None` for a mere connection.
        redirect: the target of a redirect, without its query.
        certificate: the names in the certificate.
        is_for_name: the certificate covers the name that was asked for.
        body: a digest of the beginning of the body.
        is_stock: the page is the one that a proxy's package installs.
        is_proxys: the page is one that a proxy itself writes, about an error or a redirect.
    """

    failure: str = ""
    is_late: bool = False
    status: int | None = None
    redirect: str = ""
    certificate: tuple[str, ...] = ()
    is_for_name: bool = False
    body: str = ""
    is_stock: bool = False
    is_proxys: bool = False

    @property
    def redirect_host(self) -> str:
        """``https://a.example.com`` of a redirect's target; empty if that is a mere path."""
        return "/".join(self.redirect.split("/")[:3]) if "://" in self.redirect else ""

    @property
    def words(self) -> str:
        """``answered 301 to https://a.example.com/``, as the end of a sentence."""
        if self.failure:
            return self.failure
        if self.status is None:
            return "accepted connections"
        if self.status == 101:
            return "opened a WebSocket (101)"
        return f"answered {self.status}" + (f" to {self.redirect}" if self.redirect else "")

    @property
    def certificate_words(self) -> str:
        """``a certificate for a.example.com, b.example.com``."""
        shown = ", ".join(self.certificate[:5]) or "no name at all"
        more = f" and {len(self.certificate) - 5} more" if len(self.certificate) > 5 else ""
        return f"a certificate for {shown}{more}"
