"""A verification as Prometheus metrics: names, escaped labels, no guessed values."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deployer.errors import UsageError
from deployer.report.files import ReportFiles
from deployer.report.metrics import metrics_of

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LINE = re.compile(
    r'([a-z_]+)\{((?:[a-z]+="(?:[^"\\\n]|\\[\\"n])*",?)+)\} (-?[0-9.]+(?:e-?[0-9]+)?)'
)


def check(name: str, target: str, **about: Any) -> dict[str, Any]:
    base = {"site": "ws.example.com", "name": name, "target": target, "hop": "proxy", "ok": True}
    return {**base, "detail": "", "handshake": None, "finding": None, **about}


def handshake(**timings_s: float) -> dict[str, Any]:
    return {"timings_s": timings_s}


def document(*checks: dict[str, Any], state: str = "healthy", host: str = "web1") -> dict[str, Any]:
    report = {"state": state, "seconds": 0.25, "checks": list(checks)}
    return {"hosts": {host: report}, "findings": []}


def samples(text: str) -> dict[str, float]:
    """The samples of `text` by name and labels, after a check of its format."""
    found: dict[str, float] = {}
    family = ""
    seen: set[str] = set()
    assert text.endswith("\n")
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# HELP "):
            family = line.split(" ")[2]
            assert family not in seen, "a family's samples stand together"
            seen.add(family)
        elif line.startswith("# TYPE "):
            assert line == f"# TYPE {family} gauge"
        else:
            match = LINE.fullmatch(line)
            assert match, line
            assert match[1] == family
            key = f"{match[1]}{{{match[2]}}}"
            assert key not in found, f"{key} is there twice"
            found[key] = float(match[3])
    return found


def test_a_healthy_host() -> None:
    found = samples(
        metrics_of(
            document(
                check("certificate", "ws.example.com", valid_until="2027-02-19"),
                check("handshake", "/ws", handshake=handshake(connect=0.001, upgrade=0.0005)),
                check("handshake", "www.example.com/ws", handshake=handshake(connect=0.002)),
                check("handshake", "/ws at 127.0.0.1:9001", hop="backend"),
                check("handshake", "/ws", hop="public", skipped=True),
                check("h2c refused", "/ws"),
            ),
            at=AT,
        )
    )
    place = 'host="web1",site="ws.example.com",path="/ws"'
    assert found == {
        'deployer_host_up{host="web1"}': 1,
        'deployer_verify_healthy{host="web1"}': 1,
        'deployer_verify_timestamp_seconds{host="web1"}': AT.timestamp(),
        'deployer_verify_duration_seconds{host="web1"}': 0.25,
        'deployer_checks{host="web1",state="passed"}': 5,
        'deployer_checks{host="web1",state="failed"}': 0,
        'deployer_checks{host="web1",state="skipped"}': 1,
        f'deployer_handshake_up{{{place},hop="proxy"}}': 1,
        f'deployer_handshake_up{{{place},hop="backend"}}': 1,
        'deployer_handshake_up{host="web1",site="www.example.com",path="/ws",hop="proxy"}': 1,
        f'deployer_handshake_seconds{{{place},hop="proxy",phase="connect"}}': 0.001,
        f'deployer_handshake_seconds{{{place},hop="proxy",phase="upgrade"}}': 0.0005,
        'deployer_handshake_seconds{host="web1",site="www.example.com",path="/ws",hop="proxy",'
        'phase="connect"}': 0.002,
        'deployer_certificate_not_after_seconds{host="web1",site="ws.example.com",'
        'name="ws.example.com"}': datetime(2027, 2, 19, tzinfo=UTC).timestamp(),
    }


def test_the_worst_address_of_a_hop_counts() -> None:
    found = samples(
        metrics_of(
            document(
                check("handshake", "/ws at [::1]:1", ok=False, handshake=handshake(connect=2.0)),
                check("handshake", "/ws at 127.0.0.1:1", handshake=handshake(connect=0.1)),
                state="unhealthy",
            ),
            at=AT,
        )
    )
    place = 'host="web1",site="ws.example.com",path="/ws",hop="proxy"'
    assert found[f"deployer_handshake_up{{{place}}}"] == 0
    assert found[f'deployer_handshake_seconds{{{place},phase="connect"}}'] == 2
    assert found['deployer_verify_healthy{host="web1"}'] == 0


def test_an_unreachable_host_has_no_handshakes() -> None:
    found = samples(metrics_of(document(state="unreachable"), at=AT))
    assert found == {
        'deployer_host_up{host="web1"}': 0,
        'deployer_verify_healthy{host="web1"}': 0,
        'deployer_verify_timestamp_seconds{host="web1"}': AT.timestamp(),
    }


def test_findings_are_counted_by_code() -> None:
    about = {"host": "web1", "site": "a", "hop": "proxy", "code": "bad-gateway"}
    found = {**document(), "findings": [about, about, {**about, "severity": "warning"}]}
    shown = samples(metrics_of(found, at=AT))
    labels = 'host="web1",site="a",hop="proxy",code="bad-gateway"'
    assert shown[f'deployer_findings{{{labels},severity="error"}}'] == 2
    assert shown[f'deployer_findings{{{labels},severity="warning"}}'] == 1


def test_a_name_cannot_break_out_of_its_label() -> None:
    found = samples(metrics_of(document(host='a"} 1\nevil{b="\\'), at=AT))
    assert 'deployer_host_up{host="a\\"} 1\\nevil{b=\\"\\\\"}' in found


def test_the_file_is_world_readable(tmp_path: Path) -> None:
    path = tmp_path / "site.prom"
    path.write_text("old")
    path.chmod(0o600)
    ReportFiles(metrics=path).write(document(), at=AT)
    assert path.stat().st_mode & 0o777 == 0o644
    assert samples(path.read_text())
    assert [each.name for each in tmp_path.iterdir()] == ["site.prom"]


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--metrics"):
        ReportFiles(metrics=tmp_path / "none" / "site.prom").check_writable()
