"""Check a working server for old TLS, a version banner, and failing WebSockets over HTTP/2. Pure.

None of these checks depends on the proxy, so none of them names one.
"""

from __future__ import annotations

from collections.abc import Iterator

from deployer.diagnose.outside import Observations
from deployer.model import CheckResult, Finding
from deployer.verify.judge import server_findings
from deployer.verify.net.redact import without_secrets
from deployer.verify.probe.attempt import Attempt


def results(seen: Observations) -> Iterator[CheckResult]:
    """Yield one check for each variant that was tried."""
    page = f"https://{seen.address.host}"
    over_http2 = seen.variants.get("http2")
    if over_http2 is not None:
        uri = without_secrets(seen.address.uri)
        found = server_findings.http2(uri, over_http2, hop="public", proxy=None)
        failure = over_http2.failure
        words = failure.words if failure else server_findings.http2_words(over_http2)
        is_skipped = found is None and "offered" not in over_http2.facts
        yield _result(
            seen, "WebSocket over HTTP/2", uri, over_http2, found, words, is_skipped=is_skipped
        )
    old_tls = seen.variants.get("old-tls")
    if old_tls is not None and old_tls.failure is None:
        found = server_findings.old_tls(page, old_tls, hop="public", proxy=None)
        words = f"accepts {old_tls.facts['version']}" if found else "TLS 1.1 and 1.0 are refused"
        yield _result(seen, "old TLS refused", page, old_tls, found, words)
    if seen.plain is not None and seen.plain.failure is None:
        uri = without_secrets(seen.address.page_uri)
        found = server_findings.banner(uri, seen.plain, hop="public", proxy=None)
        words = found.symptom.partition(" sends ")[2] if found else "no version disclosed"
        yield _result(seen, "no version disclosed", uri, seen.plain, found, words)


def _result(
    seen: Observations,
    name: str,
    target: str,
    attempt: Attempt,
    found: Finding | None,
    words: str,
    *,
    is_skipped: bool = False,
) -> CheckResult:
    return CheckResult(
        site=seen.address.name,
        name=name,
        target=target,
        hop="public",
        ok=found is None or found.severity != "error",
        detail=words,
        seconds=attempt.seconds,
        finding=found,
        skipped=is_skipped,
    )
