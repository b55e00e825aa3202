"""Parse the address that the user typed. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, urljoin, urlsplit

from deployer.errors import UsageError
from deployer.verify.probe.spec import Endpoint

_SECURE = {"wss": True, "https": True, "ws": False, "http": False}
_DEFAULT_PORT = {True: 443, False: 80}
_EXAMPLE = "Example: deployer diagnose wss://chat.example.com/ws"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One URL.

    `name` is a host name in ASCII or an IP address without brackets; `target` is path and query as
    sent; `is_websocket`: the scheme was ws or wss.
    """

    name: str
    port: int
    target: str
    is_secure: bool
    is_websocket: bool

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def is_literal(self) -> bool:
        """Whether the name is an IP address."""
        try:
            ipaddress.ip_address(self.name)
        except ValueError:
            return False
        return True

    @property
    def has_default_port(self) -> bool:
        return self.port == _DEFAULT_PORT[self.is_secure]

    @property
    def bare_host(self) -> str:
        """The name as written in a URL, without the port."""
        return f"[{self.name}]" if ":" in self.name else self.name

    @property
    def host(self) -> str:
        """The value of the Host header; a default port is omitted (RFC 9110, section 7.2)."""
        return self.bare_host if self.has_default_port else f"{self.bare_host}:{self.port}"

    @property
    def origin(self) -> str:
        """The origin of a page on the same server (RFC 6454, section 6.2)."""
        return f"{'https' if self.is_secure else 'http'}://{self.host}"

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(host=self.name, port=self.port, tls=self.is_secure)

    @property
    def websocket_uri(self) -> str:
        return f"{'wss' if self.is_secure else 'ws'}://{self.host}{self.target}"

    @property
    def page_uri(self) -> str:
        return f"{self.origin}{self.target}"

    @property
    def uri(self) -> str:
        return self.websocket_uri if self.is_websocket else self.page_uri

    def at(self, target: str) -> Address:
        """Return a different path on the same server."""
        return replace(self, target=target)

    def with_slash_toggled(self) -> Address | None:
        """Return the path with its trailing slash removed or added; `None` for ``/``."""
        path, mark, query = self.target.partition("?")
        if path == "/":
            return None
        toggled = path[:-1] if path.endswith("/") else f"{path}/"
        return self.at(f"{toggled}{mark}{query}")

    def redirect_target(self, location: str) -> Address | None:
        """Return the target of a redirect; `None` if it is not a web address."""
        try:
            return parse_address(urljoin(self.page_uri, location), action="follow")
        except (UsageError, ValueError):
            return None

    def is_same_place(self, other: Address) -> bool:
        """Whether both are the same request, even if written differently."""
        mine = (self.name, self.port, self.target, self.is_secure)
        return mine == (other.name, other.port, other.target, other.is_secure)


def has_scheme(text: str) -> bool:
    """Whether `text` has a scheme; without one, both https and http are tried."""
    return "://" in text


def parse_address(text: str, *, action: str = "diagnose") -> Address:
    """Parse `text`; the default scheme is ``https``.

    Raises: UsageError.
    """
    whole = text if has_scheme(text) else f"https://{text}"
    try:
        parts = urlsplit(whole)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"cannot {action} {text}: {error}", hint=_EXAMPLE) from error
    if parts.scheme not in _SECURE:
        known = ", ".join(_SECURE)
        raise UsageError(f"cannot {action} {parts.scheme}: only {known}", hint=_EXAMPLE)
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            "an address with a user or password is not accepted: it would end up in logs",
            hint="Use --header 'Authorization: Basic …' instead.",
        )
    is_secure = _SECURE[parts.scheme]
    return Address(
        name=_name(parts, text),
        port=_DEFAULT_PORT[is_secure] if port is None else port,
        target=_target(parts),
        is_secure=is_secure,
        is_websocket=parts.scheme in ("ws", "wss"),
    )


def _name(parts: SplitResult, text: str) -> str:
    name = (parts.hostname or "").rstrip(".")
    if not name or any(letter in name for letter in " \t\r\n\0%\\"):
        raise UsageError(f"no host name in {text}", hint=_EXAMPLE)
    if ":" in name or name.isascii():
        return name
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise UsageError(f"{name} cannot be a host name: {error}", hint=_EXAMPLE) from error


def _target(parts: SplitResult) -> str:
    from urllib.parse import quote

    # Non-ASCII letters are encoded as browsers do; everything else is sent unchanged.
    safe = "/?#[]@!$&'()*+,;=:%~-._|^`{}\"<>\\"
    path = quote(parts.path or "/", safe=safe)
    return f"{path}?{quote(parts.query, safe=safe)}" if parts.query else path
