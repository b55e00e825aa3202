"""An ACME server's directory, clock and ARI, requested without certbot.

A CA that is down, unknown or not trusted is reported within a second, before anything is ordered.
Sources: RFC 8555, section 7.1.1 (directory); RFC 9773 (renewal information).
"""

from __future__ import annotations

import calendar
import email.utils
import http.client
import json
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    Found = TypeVar("Found")

    from deployer.agent.certificates.x509 import Certificate

#: For the whole response: a server that sends a byte now and then is as bad as a silent one.
TIMEOUT_S = 10.0
_MOST_BYTES = 1 << 20
#: A larger clock error makes certificates look expired or not valid yet.
CLOCK_TOLERANCE_S = 3600.0


class DirectoryError(Exception):
    """The CA returns no directory: `kind` and `words` are as in `certbot.words.Failure`."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind
        self.words = words


class Directory:
    """A CA's directory. `clock_off_s` is how far the clock here is ahead of the CA's."""

    def __init__(self, document: dict[str, Any], clock_off_s: float) -> None:
        self.document = document
        self.clock_off_s = clock_off_s

    @property
    def profiles(self) -> dict[str, str]:
        """The profiles that it offers, with their descriptions; empty if it has none."""
        meta = self.document.get("meta")
        found = meta.get("profiles") if isinstance(meta, dict) else None
        return dict(found) if isinstance(found, dict) else {}

    @property
    def needs_eab(self) -> bool:
        """Whether accounts require an external account binding (RFC 8555, section 7.3.4)."""
        meta = self.document.get("meta")
        return isinstance(meta, dict) and meta.get("externalAccountRequired") is True

    @property
    def renewal_info(self) -> str:
        """The URL of renewal information, or an empty text."""
        return str(self.document.get("renewalInfo") or "")


def read_directory(url: str, ca_bundle: str | None) -> Directory:
    """The directory at `url`, over TLS that leads to `ca_bundle` or the system's roots.

    Raises:
        DirectoryError: there is none, or the clock of this host is wrong.
    """
    try:
        document, date = _get(url, ca_bundle)
    except ssl.SSLCertVerificationError as error:
        off_s = _clock_off_by(url)
        if off_s is not None and abs(off_s) > CLOCK_TOLERANCE_S:
            raise DirectoryError("clock", clock_words(off_s)) from None
        hint = "is its root in the ca_bundle?" if ca_bundle else "a CA of your own needs ca_bundle."
        why = error.verify_message or str(error)
        raise DirectoryError("tls", f"the CA at {url} is not trusted: {why}; {hint}") from None
    except ValueError:
        raise DirectoryError(
            "directory-down", f"{url} does not answer with an ACME directory"
        ) from None
    except OSError as error:
        raise DirectoryError("directory-down", f"the CA at {url} {_why(error)}") from None
    off_s = _clock_off(date)
    if off_s is not None and abs(off_s) > CLOCK_TOLERANCE_S:
        raise DirectoryError("clock", clock_words(off_s))
    if "newOrder" not in document:
        raise DirectoryError("directory-down", f"{url} does not answer with an ACME directory")
    return Directory(document, off_s or 0.0)


def clock_words(off_s: float) -> str:
    """The error for a wrong clock."""
    amount = abs(off_s)
    size = f"{amount / 86400:.1f} days" if amount > 86400 else f"{amount / 3600:.1f} hours"
    which = "ahead of" if off_s > 0 else "behind"
    return (
        f"the host's clock is {size} {which} the CA's, so certificates would look "
        f"{'expired' if off_s > 0 else 'not valid yet'}; set it, and have it kept right: "
        "timedatectl set-ntp true"
    )


class Window:
    """When the CA would like a certificate to be renewed, in seconds since the epoch."""

    def __init__(self, start: float, end: float, ask_again_at: float) -> None:
        self.start = start
        self.end = end
        self.ask_again_at = ask_again_at


def renewal_window(
    directory: Directory, certificate: Certificate, ca_bundle: str | None
) -> Window | None:
    """The CA's suggestion for `certificate`, or `None` if it has none."""
    if not directory.renewal_info or not certificate.ari_id:
        return None
    url = directory.renewal_info.rstrip("/") + "/" + certificate.ari_id
    try:
        document, headers = _get(url, ca_bundle)
        suggested = document["suggestedWindow"]
        start, end = _time(suggested["start"]), _time(suggested["end"])
    except (DirectoryError, OSError, ValueError, KeyError, TypeError):
        return None
    if end < start:
        return None
    try:
        wait_s = min(86400.0, max(60.0, float(headers.get("Retry-After", ""))))  # so "nan" is 60
    except ValueError:
        wait_s = 21600.0  # six hours, RFC 9773, section 4.3.3
    return Window(start, end, time.time() + wait_s)


def _get(url: str, ca_bundle: str | None) -> tuple[dict[str, Any], dict[str, str]]:
    return _within(TIMEOUT_S, lambda: _get_slowly(url, ca_bundle))


def _within(limit_s: float, work: Callable[[], Found]) -> Found:
    """The result or the exception of `work`. Raises: socket.timeout: it takes longer."""
    found: list[Found] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # raised again by the waiting thread
            failed.append(error)

    # Reading has a timeout per packet only, so the waiting thread must be able to leave.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit_s)
    for error in failed:
        raise error
    if not found:
        raise socket.timeout  # noqa: UP041 - not the same before Python 3.10
    return found[0]


def _get_slowly(url: str, ca_bundle: str | None) -> tuple[dict[str, Any], dict[str, str]]:
    if not url.startswith("https://"):
        raise ValueError("an ACME server is asked over https alone")
    request = urllib.request.Request(url, headers={"User-Agent": "deployer"})  # noqa: S310 - https
    context = _trusting(ca_bundle)
    try:
        with urllib.request.urlopen(  # noqa: S310 - the scheme is looked at above
            request, timeout=TIMEOUT_S, context=context
        ) as answer:
            if not answer.geturl().startswith("https://"):
                raise _Answered("leads away from TLS, by a redirect")
            body = answer.read(_MOST_BYTES)
            headers = {key.title(): value for key, value in answer.headers.items()}
    except urllib.error.HTTPError as error:
        error.close()
        raise _Answered(f"answers with {error.code} {error.reason}") from None
    except http.client.HTTPException:
        raise _Answered("does not answer as a web server does") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, OSError):
            raise error.reason from None
        raise OSError(str(error.reason)) from None
    try:
        document = json.loads(body)
    except RecursionError:
        raise ValueError("nested without end") from None
    if not isinstance(document, dict):
        raise ValueError("not an object")
    return document, headers


def _trusting(ca_bundle: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_bundle)
    except OSError as error:
        why = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise DirectoryError("tls", f"the ca_bundle {ca_bundle} cannot be used: {why}") from None
    # No stricter than certbot, which is next; Python 3.13 would reject many private CAs.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


class _Answered(OSError):  # noqa: N818 - its text is what came of asking
    pass


def _why(error: OSError) -> str:
    if isinstance(error, _Answered):
        return str(error)
    if isinstance(error, socket.timeout):
        return f"has not answered within {TIMEOUT_S:g} s"
    if isinstance(error, socket.gaierror):
        return "cannot be found: its name does not resolve on the host"
    if isinstance(error, ConnectionRefusedError):
        return "cannot be reached: nothing listens there"
    return f"cannot be reached: {error.strerror or error}"


def _clock_off(headers: dict[str, str]) -> float | None:
    parsed = email.utils.parsedate_tz(headers.get("Date", ""))
    try:
        return None if parsed is None else time.time() - email.utils.mktime_tz(parsed)
    except (ValueError, OverflowError):
        return None  # not a valid time


def _clock_off_by(url: str) -> float | None:
    """The clock error according to an untrusted server: only used in explanations."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - https

    def look() -> float | None:
        with urllib.request.urlopen(  # noqa: S310 - https
            request, timeout=TIMEOUT_S, context=context
        ) as answer:
            return _clock_off({"Date": answer.headers.get("Date", "")})

    try:
        return _within(TIMEOUT_S, look)
    except (OSError, ValueError, http.client.HTTPException):
        return None


def _time(text: str) -> float:
    """Seconds since the epoch of a time in the format of RFC 3339."""
    whole, zone = text[:19], text[19:]
    seconds = calendar.timegm(time.strptime(whole.replace(" ", "T"), "%Y-%m-%dT%H:%M:%S"))
    zone = zone.lstrip(".0123456789")
    if zone in ("Z", "z", ""):
        return float(seconds)
    sign = -1 if zone[0] == "-" else 1
    return float(seconds - sign * (int(zone[1:3]) * 3600 + int(zone[4:6]) * 60))
