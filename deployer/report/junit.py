"""A run as JUnit XML, which CI systems display as a list of tests.

A host is a ``testsuite``, a check a ``testcase`` of the class ``HOST.SITE``. A failed check has a
``failure`` whose type is the finding's code; an unreachable host, or one whose apply was rolled
back, has a separate ``testcase`` with an ``error``.

Source: https://github.com/testmoapp/junitxml, the format that Jenkins and GitLab read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from deployer.model import Document

Json = Document

#: Characters that XML 1.0 does not allow, not even escaped (section 2.2).
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FINDING_KEYS = ("cause", "fix", "directive", "file", "evidence", "request", "response")


def junit_of(document: Json, *, at: datetime) -> str:
    """The XML of a run's JSON document; `at` is when it ended."""
    root = Element("testsuites", name=f"deployer {document['command']}")
    suites = [_suite(root, name, report, at=at) for name, report in document["hosts"].items()]
    if document.get("error"):
        suites.append(_suite_of_error(root, document, at=at))
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in suites)))
    root.set("time", f"{document.get('seconds', 0.0):.3f}")
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _suite(root: Element, name: str, report: Json, *, at: datetime) -> Element:
    suite = SubElement(root, "testsuite", name=_text(name), timestamp=_timestamp(at))
    suite.set("time", f"{report.get('seconds', 0.0):.3f}")
    checks = report.get("checks", ())
    for check in checks:
        _case(suite, name, check)
    if report["exit_code"] and all(check["ok"] for check in checks):
        case = SubElement(suite, "testcase", classname=_text(name), name=_text(report["state"]))
        message = _text(str(report.get("message", "")))
        first = message.partition("\n")[0]
        SubElement(case, "error", type=str(report["state"]), message=first).text = message
    return _counted(suite)


def _suite_of_error(root: Element, document: Json, *, at: datetime) -> Element:
    command = str(document["command"])
    suite = SubElement(root, "testsuite", name=command, timestamp=_timestamp(at), time="0")
    case = SubElement(suite, "testcase", classname="deployer", name=command)
    text = _text(str(document["error"]))
    SubElement(case, "error", type="usage", message=text.partition("\n")[0]).text = text
    return _counted(suite)


def _case(suite: Element, host: str, check: Json) -> None:
    case = SubElement(
        suite,
        "testcase",
        classname=_text(f"{host}.{check['site']}"),
        name=_text(f"{check['name']} {check['target']} ({check['hop']})"),
        time=f"{check['seconds']:.3f}",
    )
    finding = check.get("finding")
    if check.get("skipped"):
        SubElement(case, "skipped", message=_text(str(check["detail"])))
    elif not check["ok"]:
        message = str(finding["symptom"] if finding else check["detail"])
        kind = str(finding["code"] if finding else check["name"])
        failure = SubElement(case, "failure", type=_text(kind), message=_text(message))
        failure.text = _text("\n".join(_lines(finding or {})))
    elif finding:
        title = f"{finding['severity']}: {finding['symptom']} [{finding['code']}]\n"
        SubElement(case, "system-out").text = _text(title + "\n".join(_lines(finding)))


def _lines(finding: Json) -> Iterator[str]:
    if finding:
        yield f"hop: {finding['hop']}"
    for key in _FINDING_KEYS:
        if finding.get(key):
            yield f"{key}: {finding[key]}"
    for other in finding.get("alternatives", ()):
        yield f"or {other['code']}: {other['tell']}"


def _counted(suite: Element) -> Element:
    suite.set("tests", str(len(suite)))
    for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(key, str(sum(case.find(tag) is not None for case in suite)))
    return suite


def _timestamp(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _text(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
