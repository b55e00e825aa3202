"""The meaning of certbot's output, in one message.

The output has a CA's messages about single names. Those about an order or an account are complete
only in the log, so its last answer comes first, then certbot's own messages (`signs`).
"""

from __future__ import annotations

import http.client
import re
import time

from deployer.agent.certificates.certbot.log import Answer, last_answer, retry_at, without_time
from deployer.agent.certificates.certbot.secrets import without_secrets
from deployer.agent.certificates.certbot.signs import SIGNS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

_PROBLEM = re.compile(
    r"^\s*(?:Identifier|Domain):\s*(?P<name>\S+)\s*\n\s*Type:\s*(?P<type>\S+)\s*\n\s*Detail:\s*"
    r"(?P<detail>.+?)(?=\n\s*\n|\n\s*(?:Identifier|Domain|Hint):|\Z)",
    re.MULTILINE | re.DOTALL,
)
_HOOK = re.compile(
    r"^Hook '--manual-auth-hook' for (\S+) ran with error output:\n((?: .*\n?)+)", re.M
)
_BOILERPLATE = re.compile(
    r"\s*(Saving debug log|Ask for help|(Please )?[Ss]ee the logfile|Some challenges have failed|"
    r"Requesting a certificate|Account registered|Plugins selected|Certbot failed to|- - -|"
    r"Hint:|$|The Certificate Authority reported|Simulating a certificate|Renewing an existing|"
    r"Starting new HTTPS|An unexpected error occurred|Obtaining a new certificate|"
    r"Performing the following|Waiting for verification|Cleaning up challenges|"
    r"Challenge failed for|http-01 challenge for|dns-01 challenge for|IMPORTANT NOTES|"
    r"The following error was encountered|Either run as root|Non-standard path|usage:|"
    r"certbot \[SUBCOMMAND\]|Certbot can obtain|it will attempt to use|certificate\. ?$|"
    r"Certificate did not match expected|Unsafe permissions|Encountered exception during recovery)",
)
_LINE_MOST = 2000
#: Replacements that shorten messages of CAs, and remove the tokens of challenges.
_SHORTER = (
    (re.compile(r'(?:Get "|Fetching )\S+?"?: '), ""),
    (re.compile(r'could not resolve URL "\S+"'), "its name could not be resolved"),
    (re.compile(r"(/\.well-known/acme-challenge/)[\w-]+"), r"\1…"),
    (re.compile(r'this challenge "[^"]+" != '), "this challenge, but was "),
    (re.compile(r'this challenge\. Expected "[^"]+" \(got '), "this challenge (got "),
    (re.compile(r" \(and \d+ more problems\. Refer to sub-problems for more information\.\)"), ""),
    (re.compile(r"^(?:Error [a-z()]+ [a-z ()]+:: )+"), ""),
)
_IS_DNS = re.compile(
    r"DNS problem|could not (?:be )?resolved?|NXDOMAIN|SERVFAIL|no valid A(AAA)? records", re.I
)

_EXCEPTION = re.compile(r"(?:\w+\.)*\w+(?:Error|Exception|Timeout|\.Error): ")

#: By kind, what to do when a name could not be validated over HTTP.
_AFTER_HTTP = {
    "connection": "port 80 must be open to the world, and the name must lead here: look at its "
    "records (A and AAAA) and at firewalls",
    "dns": "make its DNS record, and check it with: dig {name}",
    "unauthorized": "another server answered: does the name lead here, by IPv6 (AAAA) too?",
    "caa": "its CAA record does not allow this CA: add one that does, or remove it",
    "tls": "port 80 redirects to a TLS server that does not answer as one: leave "
    "/.well-known/acme-challenge/ out of that redirect",
}
#: And by DNS.
_AFTER_DNS = {
    **_AFTER_HTTP,
    "connection": "the DNS servers of the zone must answer the world: check with: "
    "dig TXT _acme-challenge.{name}",
    "dns": "the DNS servers of the zone must answer the world: check with: "
    "dig TXT _acme-challenge.{name}",
    "unauthorized": "the CA did not see the record that was made: is it the right zone, and is "
    "`propagation:` long enough for all its DNS servers?",
}
_NEW_ACCOUNT = "move certbot's folder accounts/ of this CA away, and it makes a new account"
#: By the code of an ACME error, its kind and what to do.
_REFUSED = {
    "caa": ("caa", _AFTER_HTTP["caa"]),
    "rateLimited": ("rate-limited", ""),
    "rejectedIdentifier": ("rejected-identifier", "this CA does not certify such a name"),
    "unsupportedIdentifier": ("rejected-identifier", "this CA does not certify such a name"),
    "invalidContact": ("email", "correct `email:` in the playbook"),
    "unsupportedContact": ("email", "correct `email:` in the playbook"),
    "externalAccountRequired": ("eab", "give `eab: {kid: …, hmac_key: …}` next to its directory"),
    "userActionRequired": ("account", "the account's owner must do what the CA asks, then again"),
    "unauthorized": ("account", _NEW_ACCOUNT),
    "accountDoesNotExist": ("account-gone", _NEW_ACCOUNT),
    "badCSR": ("bad-csr", "see `key_type:` and the names"),
    "badPublicKey": ("bad-csr", "see `key_type:`"),
    "invalidProfile": ("profile", "choose another `profile:`"),
    "badNonce": ("bad-nonce", "the CA is confused by itself: try again later"),
    "serverInternal": ("directory-down", "the CA has a problem of its own: try again later"),
}
#: Patterns in the detail of a problem for what its code does not show, the most specific first.
_BY_DETAIL = (
    (
        re.compile(r"external account|field 'kid'", re.I),
        ("eab", "`eab:` must have the kid and the hmac_key as the CA gave them"),
    ),
    (
        re.compile(r"Cannot issue for|DNS identifier|public suffix|domain name", re.I),
        _REFUSED["rejectedIdentifier"],
    ),
)


class Failure:
    """Why there is no certificate.

    `words` are the message; `kind` is one word; `failed_names` are those that the CA could not
    validate; `retry_at` is the time for a retry, in seconds since the epoch, if the CA named one.
    """

    def __init__(
        self, words: str, kind: str, failed_names: tuple[str, ...], retry_at: float | None
    ) -> None:
        self.words = words
        self.kind = kind
        self.failed_names = failed_names
        self.retry_at = retry_at


def explain(output: str, log: str = "", *, settings: Json, now: float | None = None) -> Failure:
    """The meaning of certbot's `output` and `log` for `settings`.

    The log is ignored if the output does not mention one: it is from a different run then.
    """
    now = time.time() if now is None else now
    text = without_secrets(_clipped(output), settings)
    problems = [(m["name"], m["type"], _short(m["detail"])) for m in _PROBLEM.finditer(text)]
    if problems:
        return _of_validation(problems, dict(_HOOK.findall(text)), settings)
    log = (
        without_secrets(log, settings) if re.search(r"letsencrypt\.log|logfiles in ", text) else ""
    )
    answer = last_answer(log)
    if answer is not None and answer.status >= 400:
        return _of_answer(answer, settings, now)
    known = _by_signs(text, settings, now) or _by_signs(_clipped(_end_of(log)), settings, now)
    if known:
        return known
    message = _short(" ".join(_meaningful(text)[-4:]))
    return Failure(message or "certbot ended without any output", "unknown", (), None)


def _of_validation(
    problems: list[tuple[str, str, str]], hooks: dict[str, str], settings: Json
) -> Failure:
    order = {name: place for place, name in enumerate(settings.get("names", ()))}
    problems.sort(key=lambda each: order.get(each[0], len(order)))
    is_dns = settings.get("challenge") == "dns-01"
    messages, advice, kinds = [], [], []
    for name, code, detail in problems:
        if name in hooks:
            messages.append(f"the challenge of {name} was not put up: {_short(hooks[name])}")
            kinds.append("plugin")
            continue
        kind = "dns" if code == "connection" and _IS_DNS.search(detail) else code
        kinds.append(kind if kind in _AFTER_HTTP else _REFUSED.get(kind, ("unknown", ""))[0])
        messages.append(f"the CA could not validate {name}: {detail.rstrip('.')}")
        words = (_AFTER_DNS if is_dns else _AFTER_HTTP).get(kind, "").format(name=name)
        if words and words not in advice:
            advice.append(words)
    failed = {name for name, _, _ in problems}
    # For a wildcard, the CA omits the star.
    failed |= {name for name in order if name.startswith("*.") and name[2:] in failed}
    names = tuple(sorted(failed, key=lambda name: order.get(name, len(order))))
    return Failure("; ".join(messages + advice), kinds[0], names, None)


def _of_answer(answer: Answer, settings: Json, now: float) -> Failure:
    detail = _short(answer.detail, most=2000)
    wanted = retry_at(detail, answer.retry_after, now=now)
    if not answer.code:
        return _of_status(answer, settings, wanted)
    kind, advice = next(
        (
            found
            for pattern, found in _BY_DETAIL
            if answer.code != "rateLimited" and pattern.search(detail)
        ),
        ("unknown", ""),
    )
    kind, advice = _REFUSED.get(answer.code, (kind, advice)) if kind != "eab" else (kind, advice)
    if len(answer.parts) > 1:
        detail = "; ".join(f"{name}: {_short(words)}" for name, words in answer.parts)
    if kind == "rate-limited":
        return _of_rate_limit(detail, wanted, now)
    message = f"the CA refuses: {detail or answer.code}"
    return Failure(f"{message}; {advice}" if advice else message, kind, (), wanted)


def _of_rate_limit(detail: str, wanted: float | None, now: float) -> Failure:
    message = f"the CA refuses: {without_time(detail).rstrip('.')}"
    if "visit: http" in detail:  # waiting does not help: someone must confirm on that page
        return Failure(f"{message} (open that page to go on)", "rate-limited", (), wanted)
    if wanted is None:
        message += "; it does not say for how long: wait an hour"
        return Failure(message, "rate-limited", (), now + 3600.0)
    return Failure(f"{message}; wait until {_utc(wanted)}", "rate-limited", (), wanted)


def _of_status(answer: Answer, settings: Json, wanted: float | None) -> Failure:
    reason = http.client.responses.get(answer.status, "")
    directory = settings.get("directory", "")
    if answer.url == directory and answer.status < 500:
        message = f"there is no ACME directory at {directory}: it answers {answer.status} {reason}"
        return Failure(f"{message}; see `directory:`", "directory-down", (), wanted)
    message = f"the CA answers {answer.status} {reason} at {answer.url or directory}"
    return Failure(f"{message}: try again later", "directory-down", (), wanted)


def _by_signs(text: str, settings: Json, now: float) -> Failure | None:
    for pattern, kind, words in SIGNS:
        sign = re.search(pattern, text)
        if sign:
            message = words.format(
                *(_short(group or "") for group in sign.groups()),
                directory=settings.get("directory", "the CA"),
                port=settings.get("challenge_port", 80),
                clock=_utc(now),
            )
            return Failure(message.strip(" ."), kind, (), None)
    return None


def _utc(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(-(-at // 60) * 60))  # rounded up


def _short(text: str, *, most: int = 600) -> str:
    # No escape sequences: the message is printed on a terminal.
    text = "".join(each if each.isprintable() else "?" for each in " ".join(text.split()))
    for pattern, words in _SHORTER:
        text = pattern.sub(words, text)
    return text if len(text) <= most else text[: most - 1] + "…"


def _clipped(text: str) -> str:
    """Lines of limited length, so that patterns cannot be slow."""
    return "\n".join(line[:_LINE_MOST] for line in text.splitlines())


def _meaningful(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if not _BOILERPLATE.match(line)]


def _end_of(log: str) -> str:
    """The messages of exceptions in a log, without tracebacks."""
    lines = (line for line in log.splitlines() if _EXCEPTION.match(line))
    return "\n".join(list(lines)[-6:])
