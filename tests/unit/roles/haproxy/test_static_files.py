"""The file server next to HAProxy, asked by a real client over the loopback."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Iterator
from email.utils import formatdate
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE_S

PROGRAM = ROOT / "roles/haproxy/files/static_files.py"
CHANGED = 1_700_000_000


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("static_files", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("static")
    root = top / "www"
    (root / "sub/bare").mkdir(parents=True)
    (root / "index.html").write_text("home\n")
    (root / "sub/index.html").write_text("sub\n")
    (root / "LICENSE").write_text("0123456789")
    (root / "größe 100%.txt").write_text("größe\n")
    for name in ("app.js", "app.wasm", "font.woff2", "dump.sql.gz", "none", ".hidden"):
        (root / name).write_text(name)
    (root / "empty.txt").write_text("")
    (root / "leads-out").symlink_to("/etc/hostname")
    (top / "private").write_text("not a root\n")
    os.mkfifo(root / "pipe")
    os.utime(root / "LICENSE", (CHANGED, CHANGED))
    links = top / "links"
    links.mkdir()
    (links / "srv:www").symlink_to(root)
    return links


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[HTTPConnection]:
    """One connection for all: an answer that is not ended rightly spoils the next one."""
    with load().Server(("127.0.0.1", 0), str(folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        connection = HTTPConnection(*server.server_address, timeout=PATIENCE_S)
        try:
            yield connection
        finally:
            connection.close()
            server.shutdown()
            thread.join()


def ask(
    client: HTTPConnection, path: str, method: str = "GET", **headers: str
) -> tuple[HTTPResponse, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    client.request(method, f"/srv:www{path}", headers=named)
    response = client.getresponse()
    return response, response.read()


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        ("", "text/html", b"home\n"),
        ("/", "text/html", b"home\n"),
        ("//sub", "text/html", b"sub\n"),
        ("/sub", "text/html", b"sub\n"),
        ("/sub/", "text/html", b"sub\n"),
        ("/sub/index.html?v=1", "text/html", b"sub\n"),
        ("/LICENSE", "application/octet-stream", b"0123456789"),
        ("/gr%C3%B6%C3%9Fe%20100%25.txt", "text/plain", "größe\n".encode()),
        ("/app.wasm", "application/wasm", b"app.wasm"),
        ("/font.woff2", "font/woff2", b"font.woff2"),
        ("/dump.sql.gz", "application/gzip", b"dump.sql.gz"),
        ("/empty.txt", "text/plain", b""),
    ],
)
def test_files(client: HTTPConnection, path: str, kind: str, body: bytes) -> None:
    response, found = ask(client, path)
    assert (response.status, response.headers["Content-Type"], found) == (200, kind, body)
    assert response.headers["Content-Length"] == str(len(body))
    response, found = ask(client, path, "HEAD")
    assert (response.status, found) == (200, b"")
    assert response.headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/sub/bare",
        "/sub/bare/",
        "/LICENSE/",
        "/LICENSE/x",
        "/pipe",
        "/../private",
        "/%2e%2e/private",
        "/..%2fprivate",
        "/sub/../LICENSE",
        "/a%00b",
        f"/{'x' * 300}",
    ],
)
def test_what_is_no_file_is_not_there(client: HTTPConnection, path: str) -> None:
    response, body = ask(client, path)
    assert (response.status, response.headers["Content-Type"]) == (404, "text/html")
    assert b"not a root" not in body
    assert ask(client, path, "HEAD")[1] == b""


def test_the_folder_of_links_is_not_served(client: HTTPConnection) -> None:
    for path in ("/", "//", "/.", "/unknown/x"):
        client.request("GET", path)
        response = client.getresponse()
        response.read()
        assert response.status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_is_done_but_reading(client: HTTPConnection, method: str) -> None:
    client.request(method, "/srv:www/LICENSE", body=b"GET /srv:www/ HTTP/1.1\r\n\r\n")
    response = client.getresponse()
    response.read()
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
    assert response.headers["Connection"] == "close"


def test_the_body_of_a_get_is_not_the_next_request(client: HTTPConnection) -> None:
    client.request("GET", "/srv:www/LICENSE", body=b"GET /srv:www/ HTTP/1.1\r\n\r\n")
    response = client.getresponse()
    assert (response.status, response.read()) == (200, b"0123456789")
    assert response.headers["Connection"] == "close"


@pytest.mark.parametrize(
    ("asked", "status", "body", "shown"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=8-", 206, b"89", "bytes 8-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=-0", 416, b"", "bytes */10"),
        ("bytes=3-2", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
        ("lines=0-1", 200, b"0123456789", None),
    ],
)
def test_parts(
    client: HTTPConnection, asked: str, status: int, body: bytes, shown: str | None
) -> None:
    response, found = ask(client, "/LICENSE", Range=asked)
    assert (response.status, found, response.headers["Content-Range"]) == (status, body, shown)


def test_a_part_of_another_version_is_the_whole(client: HTTPConnection) -> None:
    tag = ask(client, "/LICENSE", "HEAD")[0].headers["ETag"]
    assert ask(client, "/LICENSE", Range="bytes=0-1", If_Range=tag)[0].status == 206
    assert ask(client, "/LICENSE", Range="bytes=0-1", If_Range='"other"')[0].status == 200


def test_what_has_not_changed_is_not_sent_again(client: HTTPConnection) -> None:
    headers = ask(client, "/LICENSE", "HEAD")[0].headers
    tag, changed = headers["ETag"], headers["Last-Modified"]
    assert changed == formatdate(CHANGED, usegmt=True)
    before = formatdate(CHANGED - 1, usegmt=True)
    for asked, status in (
        ({"If_None_Match": tag}, 304),
        ({"If_None_Match": f'"x", W/{tag}'}, 304),
        ({"If_None_Match": "*"}, 304),
        ({"If_None_Match": '"x"', "If_Modified_Since": changed}, 200),
        ({"If_Modified_Since": changed}, 304),
        ({"If_Modified_Since": before}, 200),
        ({"If_Modified_Since": "yesterday"}, 200),
    ):
        response, body = ask(client, "/LICENSE", **asked)
        assert (response.status, len(body)) == (status, 0 if status == 304 else 10), asked


def test_no_version_is_disclosed(client: HTTPConnection) -> None:
    for path in ("/", "/nothing"):
        assert "/" not in ask(client, path)[0].headers["Server"]
