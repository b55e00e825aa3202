"""What certbot's output means, in one message for a person."""

from __future__ import annotations

import calendar
import re
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

_PROBLEM = re.compile(
    r"^\s*(?:Identifier|Domain):\s*(?P<name>\S+)\s*\n\s*Type:\s*(?P<type>\S+)\s*\n\s*Detail:\s*"
    r"(?P<detail>.+?)(?=\n\s*\n|\n\s*(?:Identifier|Domain|Hint):|\Z)",
    re.MULTILINE | re.DOTALL,
)
_ACME_ERROR = re.compile(r"urn:ietf:params:acme:error:(\w+) ?:: ?(.+)")
_RETRY = re.compile(r"retry after (\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)", re.IGNORECASE)
_RETRY_SECONDS = re.compile(r"Retry-After:? (\d{1,7})\b", re.IGNORECASE)
_BOILERPLATE = re.compile(
    r"^(Saving debug log|Ask for help|See the logfile|Some challenges have failed|"
    r"Requesting a certificate|Account registered|Plugins selected|Certbot failed to|- - -|"
    r"Hint:|\s*$|The Certificate Authority reported|Simulating a certificate|Renewing an existing|"
    r"Starting new HTTPS|An unexpected error occurred|Obtaining a new certificate|"
    r"Performing the following|Waiting for verification|Cleaning up challenges|"
    r"Challenge failed for|http-01 challenge for|dns-01 challenge for|IMPORTANT NOTES)",
)

#: By the type of an ACME error (RFC 8555, section 6.7): our word for it, and what to do next.
_KINDS = {
    "caa": ("caa", "its CAA record does not allow this CA: add one that does, or remove it"),
    "connection": (
        "connection",
        "port 80 must be open to the world, and the name must lead to this host",
    ),
    "dns": ("dns", "make its DNS record, and check it with: dig {name}"),
    "unauthorized": (
        "unauthorized",
        "another server answered: does the name lead to this host, by IPv6 too?",
    ),
    "rateLimited": ("rate-limited", "nothing but waiting helps"),
    "rejectedIdentifier": ("rejected-identifier", "this CA does not certify that name"),
    "invalidContact": ("email", "correct `email:` in the playbook"),
    "unsupportedContact": ("email", "correct `email:` in the playbook"),
    "externalAccountRequired": ("eab", "give `eab: {kid: …, hmac_key: …}` beside its directory"),
    "userActionRequired": ("account", "the CA wants something of the account's owner"),
    "accountDoesNotExist": ("account", "the account is gone at the CA"),
    "badCSR": ("bad-csr", "the CA does not take this kind of key or names: see `key_type:`"),
    "invalidProfile": ("profile", "choose another `profile:`"),
    "badNonce": ("directory-down", "the CA is confused by itself: try again"),
    "serverInternal": ("directory-down", "the CA has a problem of its own: try again later"),
    "tls": ("tls", "a redirect leads to a TLS server that does not answer as one"),
}
#: What certbot says without an ACME error, the more particular first.
_SIGNS = (
    (r"Another instance of Certbot is already running", "lock", "another certbot is at work"),
    (r"Could not bind TCP port (\d+)", "port-in-use", "something else listens on port {0}"),
    (
        r"(?:certificate verify failed|CERTIFICATE_VERIFY_FAILED)",
        "tls",
        "the CA's own certificate is not trusted on the host: is its root in the ca_bundle?",
    ),
    (r"(?:Name or service not known|Temporary failure in name resolution|NameResolutionError)",
     "directory-down", "the CA's name does not resolve on the host"),
    (r"Connection refused|Failed to establish a new connection|Max retries exceeded",
     "directory-down", "the CA cannot be reached from the host"),
    (r"[Rr]ead timed out|ConnectTimeout", "timeout", "the CA does not answer in time"),
    (r"The requested dns-(\S+) plugin does not appear to be installed", "plugin",
     "certbot has no plugin for {0}"),
    (r"Missing propert\w+ in credentials configuration", "plugin",
     "the file of the plugin's credentials lacks something"),
    (r"ACME server rejected|invalid email|[Uu]nable to validate.*contact|valid email address",
     "email", "correct `email:` in the playbook"),
    (r"[Tt]imed out waiting", "timeout", "the CA has not decided in time: try again"),
)  # fmt: skip


class Failure:
    """Why there is no certificate.

    `words` are for a person; `kind` is one word; `failed_names` are those that the CA could not
    validate; `retry_at` is when to try again, in seconds since the epoch, if the CA has said so.
    """

    def __init__(
        self, words: str, kind: str, failed_names: tuple[str, ...], retry_at: float | None
    ) -> None:
        self.words = words
        self.kind = kind
        self.failed_names = failed_names
        self.retry_at = retry_at


def explain(output: str, log: str = "", *, settings: Json) -> Failure:
    """What certbot's `output`, and where that says little its `log`, mean for `settings`."""
    text = _without_secrets(output, settings)
    problems = [(m["name"], m["type"], _line(m["detail"])) for m in _PROBLEM.finditer(text)]
    if problems:
        return _of_problems(problems)
    for source in (text, _without_secrets(log, settings)):
        found = list(_ACME_ERROR.finditer(source))
        if found:
            return _of_error(found[-1][1], _line(found[-1][2]), source)
    for pattern, kind, advice in _SIGNS:
        sign = re.search(pattern, text)
        if sign:
            told = advice.format(*sign.groups())
            return Failure(f"{_meaningful(text)}: {told}", kind, (), None)
    return Failure(_meaningful(text) or "certbot ended without a word", "unknown", (), None)


def _of_problems(problems: list[tuple[str, str, str]]) -> Failure:
    lines = []
    for name, kind, detail in problems:
        _, advice = _KINDS.get(kind, (kind, ""))
        told = f" ({advice.format(name=name)})" if advice else ""
        lines.append(f"the CA could not validate {name}: {detail}{told}")
    kind = _KINDS.get(problems[0][1], (problems[0][1], ""))[0]
    return Failure("; ".join(lines), kind, tuple(name for name, _, _ in problems), None)


def _of_error(code: str, detail: str, text: str) -> Failure:
    kind, advice = _KINDS.get(code, ("unknown", ""))
    retry_at = _retry_at(text) if kind == "rate-limited" else None
    if kind == "rate-limited" and retry_at is None:
        retry_at = time.time() + 3600.0
    told = f" ({advice})" if advice and "{" not in advice else ""
    return Failure(f"the CA refuses: {detail}{told}", kind, (), retry_at)


def _retry_at(text: str) -> float | None:
    found = _RETRY.search(text)
    if found:
        return float(calendar.timegm(time.strptime(f"{found[1]} {found[2]}", "%Y-%m-%d %H:%M:%S")))
    seconds = _RETRY_SECONDS.search(text)
    return time.time() + float(seconds[1]) if seconds else None


def _line(text: str) -> str:
    return " ".join(text.split())[:600]


def _meaningful(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if not _BOILERPLATE.match(line)]
    return _line(" ".join(lines[-4:]))


def _without_secrets(text: str, settings: Json) -> str:
    key = (settings.get("eab") or {}).get("hmac_key")
    return text.replace(key, "(hidden)") if key else text
