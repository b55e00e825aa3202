"""The page of a site in maintenance."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.cli import main

SITE = """\
- hosts: all
  sites:
    - domain: a.example.com
      proxy: PROXY
      maintenance: {page: away.html}
      routes: [{path: /, upstream: "http://127.0.0.1:1"}]
"""


def checked(
    proxy: str, page: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[int, Path]:
    monkeypatch.chdir(folder)
    Path("away.html").write_bytes(page)
    Path("site.yml").write_text(SITE.replace("PROXY", proxy))
    Path("inventory.yml").write_text("all: {hosts: {web1: }}\n")
    options = ["--render", "out", "--release", "debian-12"]
    return main.run(["check", "site.yml", *options]), folder / "out/web1/etc"


def test_the_page_is_a_file_of_the_host_word_for_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = "<p>{{ no template }} ä</p>\r\n".encode()
    code, etc = checked("nginx", page, tmp_path, monkeypatch)
    assert code == 0
    assert (etc / "nginx/deployer-pages/a.example.com.html").read_bytes() == page


@pytest.mark.parametrize(
    ("proxy", "page", "problem"),
    [
        ("haproxy", b"x" * 14_001, "HAProxy can send pages of 1 to 14,000"),
        ("nginx", b"", "the page has 0 bytes"),
        ("nginx", b"\xff", "away.html is not UTF-8"),
    ],
)
def test_a_page_that_cannot_be_sent(
    proxy: str,
    page: bytes,
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _ = checked(proxy, page, tmp_path, monkeypatch)
    assert code == 1
    printed = capsys.readouterr().err
    assert problem in printed
    assert "site.yml:5:" in printed
