"""Facts of a host, read from its files."""

from __future__ import annotations

import pytest

from deployer.agent import facts


def test_name_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "# by hand\nsearch example.com\nnameserver 10.0.0.53\nnameserver\nnameserver ::1\n"
        "nameserver fe80::1%eth0\nnameserver 1;evil\noptions rotate\nnameserver 9.9.9.9 #\n"
        "nameserver 8.8.8.8\n"
    )
    monkeypatch.setattr(facts, "read_text", lambda path: text if "resolv" in path else "")
    assert facts.facts()["ansible_dns"] == {"nameservers": ["10.0.0.53", "::1", "9.9.9.9"]}
    monkeypatch.setattr(facts, "read_text", lambda path: "")
    assert facts.facts()["ansible_dns"] == {"nameservers": []}
