"""Several plays of one playbook with sites for one host: HAProxy has one configuration for all."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.cli import main

_ROUTES = "routes: [{path: /ws, websocket: 'http://127.0.0.1:9001'}]"


def play(domain: str, issuer: str, more: str = "") -> str:
    site = f"{{domain: {domain}, proxy: haproxy, tls: {{issuer: {issuer}}}, {_ROUTES}}}"
    return f"- hosts: all\n  become: true\n{more}  sites: [{site}]\n"


def test_each_plays_sites_are_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("inventory.yml").write_text("all: {hosts: {web1: {ansible_host: 192.0.2.1}}}\n")
    Path("site.yml").write_text(
        play("one.example.com", "none") + play("two.example.com", "internal")
    )
    assert main.run(["check", "site.yml", "--render", "out"]) == 0
    folder = next(Path("out/web1").rglob("haproxy.cfg")).parent
    text = (folder / "haproxy.cfg").read_text()
    assert "backend one.example.com:ws" in text
    assert "backend two.example.com:ws" in text
    names = sorted(each.name for each in (folder / "deployer/sites").iterdir())
    assert names == ["one.example.com.json", "two.example.com.json"]
    assert "two.example.com" in (folder / "deployer/certificates").read_text()


def test_plays_must_agree_on_its_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("inventory.yml").write_text("all: {hosts: {web1: {ansible_host: 192.0.2.1}}}\n")
    limited = "  vars: {haproxy_maxconn: 100, other: 1}\n"
    first, second = (
        play("one.example.com", "none", limited),
        play("two.example.com", "none", "  vars: {other: 2}\n"),
    )
    Path("site.yml").write_text(first + second)
    assert main.run(["check", "site.yml"]) == 1
    said = capsys.readouterr().err
    assert "site.yml:5:3: haproxy_maxconn differs between two plays for web1" in said
    assert "other differs" not in said
    Path("site.yml").write_text(first + play("two.example.com", "none", limited))
    assert main.run(["check", "site.yml"]) == 0
