"""What is wrong with a certificate, and which exit code that earns; one file a case."""

from __future__ import annotations

import pytest

from deployer.certificates.status import judged
from deployer.report.document import run_document
from tests.support.certificates.status_cases import CASES, FINE, NOW, case, judged_run


@pytest.mark.parametrize("name", sorted(path.stem for path in CASES.glob("*.yml")))
def test_judged(name: str) -> None:
    given = case(name)
    found = judged(given["status"], now=NOW, warn_days=given["warn_days"])
    shown = [[problem.severity, problem.code, problem.words, problem.command] for problem in found]
    assert shown == given["expect"]
    run = judged_run(given["status"], warn_days=given["warn_days"])
    assert run.exit_code == given["exit_code"]


def test_a_host_that_has_failed_already_stays_so() -> None:
    assert judged_run(FINE, state="unhealthy").exit_code == 3
    assert judged_run(case("expired")["status"], state="unreachable").exit_code == 5


def test_the_document_has_each_status_with_what_is_wrong() -> None:
    document = run_document(judged_run(FINE, case("no-timer")["status"]))
    fine, other = document["hosts"]["web1"]["certificates"]
    assert (fine["problem"], fine["problems"]) == ("", [])
    assert fine["served"] == FINE["served"]
    assert other["problem"].startswith("nothing renews it")
    (finding,) = document["findings"]
    assert (finding["host"], finding["site"], finding["code"], finding["severity"]) == (
        "web1",
        "chat.example.com",
        "no-timer",
        "warning",
    )
    assert finding["fix"] == "Install it: deployer certs schedule site.yml -l web1"
    assert document["exit_code"] == 0


def test_the_document_of_a_host_without_certificates_says_so() -> None:
    assert run_document(judged_run())["hosts"]["web1"]["certificates"] == []
