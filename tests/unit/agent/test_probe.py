"""What an agent says of itself, of a host and of the things on it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.agent import packages
from deployer.report.document import as_json
from deployer.transport.framing import encode
from tests.support.agent.process import AgentProcess, AgentRefusal, local_agent, me


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    running = local_agent(tmp_path_factory.mktemp("host"))
    yield running
    assert running.end() == 0


def test_hello(agent: AgentProcess) -> None:
    assert agent.hello["hello"] == 1
    assert agent.hello["uid"] == os.geteuid()
    assert agent.hello["pid"] == agent.process.pid


def test_facts_have_ansible_names(agent: AgentProcess) -> None:
    reply = agent.ask("facts", packages=[])
    facts = reply["facts"]
    assert facts["ansible_hostname"] == os.uname().nodename.partition(".")[0]
    assert facts["ansible_architecture"] == os.uname().machine
    assert facts["ansible_processor_vcpus"] == os.cpu_count()
    assert facts["ansible_memtotal_mb"] > 0
    assert facts["ansible_python_version"] == agent.hello["python"]
    assert facts["ansible_user_id"] == me()
    assert facts["ansible_distribution_major_version"].isdigit()
    assert reply["deployer"] == {
        "lock": None, "pending": None, "generation": 0, "last": None,
        "rollback": None, "managed": None, "owed": [], "proxies": [],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["-o", "a b", "", "../x", "a;b"])
def test_a_package_name_is_never_an_option(agent: AgentProcess, name: str) -> None:
    with pytest.raises(AgentRefusal, match="is not a name"):
        agent.ask("facts", packages=[name])


def test_the_version_of_a_snap_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_SNAPS", str(tmp_path))
    meta = tmp_path / "certbot/current/meta"
    meta.mkdir(parents=True)
    (meta / "snap.yaml").write_text("name: certbot\nversion: '5.1.0'\nsummary: x\n")
    assert packages._of_snap("certbot") == {}
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/certbot").symlink_to("/usr/bin/snap")
    assert packages._of_snap("certbot") == {}
    (tmp_path / "bin/certbot").unlink()
    (tmp_path / "bin/certbot").touch()
    assert packages._of_snap("certbot") == {"snap": "5.1.0"}


def test_probe_of_a_file(agent: AgentProcess, tmp_path: Path) -> None:
    path = tmp_path / "a file"
    path.write_bytes(b"text\n")
    path.chmod(0o640)
    seen = agent.probe("file", str(path))
    group = seen["attributes"].pop("group")
    assert isinstance(group, str)
    assert seen["attributes"] == {
        "type": "file",
        "sha256": hashlib.sha256(b"text\n").hexdigest(),
        "size": 5,
        "mode": "0640",
        "owner": me(),
    }
    assert "content_b64" not in seen


def test_content_is_sent_where_it_differs(agent: AgentProcess, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    same = hashlib.sha256(b"old").hexdigest()
    sent = agent.probe("file", str(path), sha256="0", want_content=True)
    assert base64.b64decode(sent["content_b64"]) == b"old"
    assert "content_b64" not in agent.probe("file", str(path), sha256=same, want_content=True)
    path.write_bytes(b"x" * ((1 << 20) + 1))
    assert "content_b64" not in agent.probe("file", str(path), sha256="0", want_content=True)


def test_the_fingerprint_follows_every_attribute(agent: AgentProcess, tmp_path: Path) -> None:
    path = tmp_path / "file"
    seen = [agent.probe("file", str(path))["fingerprint"]]
    path.write_bytes(b"1")
    seen.append(agent.probe("file", str(path))["fingerprint"])
    path.write_bytes(b"2")
    seen.append(agent.probe("file", str(path))["fingerprint"])
    path.chmod(0o600)
    seen.append(agent.probe("file", str(path))["fingerprint"])
    assert len(set(seen)) == len(seen)
    os.utime(path, (1, 1))
    assert agent.probe("file", str(path))["fingerprint"] == seen[-1], "time is not managed"


def test_other_types_are_named_and_never_opened(agent: AgentProcess, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir(mode=0o750)
    (tmp_path / "dangling").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        asked = {"want_content": True}
        types = {
            name: agent.probe("file", str(tmp_path / name), **asked)["attributes"]["type"]
            for name in ("fifo", "folder", "dangling", "socket")
        }
    assert types == {
        "fifo": "fifo", "folder": "directory", "dangling": "link", "socket": "socket"
    }  # fmt: skip
    assert agent.probe("file", "/dev/null")["attributes"]["type"] == "device"
    link = agent.probe("link", str(tmp_path / "dangling"))["attributes"]
    assert link == {"type": "link", "target": "nowhere"}
    assert agent.probe("directory", str(tmp_path / "folder"))["attributes"]["mode"] == "0750"


def test_absent_things_are_none(agent: AgentProcess, tmp_path: Path) -> None:
    for kind, name in (
        ("file", str(tmp_path / "none")),
        ("directory", str(tmp_path / "no" / "ne")),
        ("link", str(tmp_path / "none")),
        ("package", "no-such-package"),
        ("user", "no-such-user"),
    ):
        seen = agent.probe(kind, name)
        assert seen["attributes"] is None
        assert "problem" not in seen


def test_a_file_where_a_folder_should_be(agent: AgentProcess, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    seen = agent.probe("file", str(tmp_path / "file" / "below"))
    assert seen["attributes"] is None
    assert seen["problem"].endswith(f"{tmp_path / 'file'} is not a folder")


def test_a_loop_of_links_is_a_problem(agent: AgentProcess, tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    seen = agent.probe("file", str(tmp_path / "one" / "file"))
    assert "cannot be read: Too many levels of symbolic links" in seen["problem"]


@pytest.mark.parametrize("path", ["relative", "/a/../b", "/a//b", "//a", "/a/", "/a\0b", ""])
def test_paths_must_be_whole(agent: AgentProcess, path: str) -> None:
    with pytest.raises(AgentRefusal, match="path") as caught:
        agent.probe("file", path)
    assert caught.value.code == "bad-request"


def test_probe_of_a_user(agent: AgentProcess) -> None:
    attributes = agent.probe("user", "root")["attributes"]
    assert attributes["uid"] == 0
    assert attributes["home"] == "/root"
    assert attributes["groups"] == sorted(attributes["groups"])


def test_guards_of_commands(agent: AgentProcess, tmp_path: Path) -> None:
    (tmp_path / "here.txt").write_text("")

    def is_done(**query: object) -> bool:
        attributes = agent.probe("command", "x", **query)["attributes"]
        return bool(attributes["done"])

    assert is_done(creates=str(tmp_path / "here.txt"))
    assert is_done(creates="here.txt", chdir=str(tmp_path))
    assert is_done(creates=str(tmp_path / "*.txt"))
    assert not is_done(creates=str(tmp_path / "*.pdf"))
    assert is_done(removes=str(tmp_path / "gone"))
    assert not is_done(removes=str(tmp_path / "here.txt"))
    assert is_done(unless=["test", "-e", "here.txt"], chdir=str(tmp_path))
    assert not is_done(unless=["test", "-e", "gone"], chdir=str(tmp_path))
    assert not is_done()


def test_a_guard_that_cannot_run_is_a_problem(agent: AgentProcess) -> None:
    seen = agent.probe("command", "x", unless=["/no/such/program"])
    assert seen["problem"] == "/no/such/program cannot be run: No such file or directory"


def test_what_a_child_writes_stays_out_of_the_channel(agent: AgentProcess) -> None:
    noisy = ["sh", "-c", "echo noise; echo noise >&2; cat; exit 3"]
    assert agent.probe("command", "x", unless=noisy)["attributes"] == {"done": False}


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"name": "dance"}, "unknown request 'dance'"),
        ({"name": "probe"}, "the request is incomplete"),
        ({"name": "probe", "resources": [{"kind": "cat"}]}, "unknown kind 'cat'"),
        ({"name": "confirm", "commit": "../x"}, "is not a name"),
    ],
)
def test_requests_that_make_no_sense(
    agent: AgentProcess, message: dict[str, Any], words: str
) -> None:
    with pytest.raises(AgentRefusal, match=words) as caught:
        agent.ask(**message)
    assert caught.value.code == "bad-request"


def test_a_frame_that_arrives_in_pieces(agent: AgentProcess) -> None:
    body = b'{"id": 900, "request": "history"}'
    for byte in struct.pack(">I", len(body)) + body:
        agent._write(bytes([byte]))
    assert agent.finish(900) == {"generations": []}


def test_a_frame_that_is_too_long_ends_the_agent(tmp_path: Path) -> None:
    running = local_agent(tmp_path)
    running._write(struct.pack(">I", 1 << 30))
    assert running.process.wait(10) == 0
    assert running.process.stderr is not None
    assert b"1073741824 bytes exceeds the limit" in running.process.stderr.read()
    running.end()


def test_a_name_in_no_encoding_comes_and_goes_as_it_is(agent: AgentProcess, tmp_path: Path) -> None:
    """File names are bytes; those that are no UTF-8 keep their place in messages and digests."""
    (tmp_path / "link").symlink_to(os.fsdecode(b"/\xff"))
    seen = agent.probe("link", f"{tmp_path}/link")
    assert seen["attributes"]["target"] == os.fsdecode(b"/\xff")
    assert json.loads(encode(seen)[4:]) == seen
    assert json.loads(as_json(seen)) == seen
    assert "ü" in as_json({"name": "ü"})


def test_releases_come_newest_first(agent: AgentProcess, tmp_path: Path) -> None:
    for age, name in enumerate(("new", "middle", "old")):
        (tmp_path / name).mkdir(mode=0o750)
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    (tmp_path / "a file").write_text("")
    (tmp_path / "a link").symlink_to("new")
    asked = {"id": "releases:x", "kind": "releases", "name": str(tmp_path), "query": {}}
    (seen,) = agent.ask("probe", resources=[asked])["observations"]
    found = seen["attributes"]["found"]
    assert [each["name"] for each in found] == ["new", "middle", "old"]
    # Each as it would be seen by itself: a plan that removes it is compared with that.
    folder = {"id": "directory:x", "kind": "directory", "name": f"{tmp_path}/old", "query": {}}
    (alone,) = agent.ask("probe", resources=[folder])["observations"]
    assert found[2]["attributes"] == alone["attributes"]
    assert found[2]["fingerprint"] == alone["fingerprint"]


def test_no_releases_yet(agent: AgentProcess, tmp_path: Path) -> None:
    asked = {"id": "releases:x", "kind": "releases", "name": f"{tmp_path}/none", "query": {}}
    (seen,) = agent.ask("probe", resources=[asked])["observations"]
    assert seen["attributes"] == {"found": []}


@pytest.mark.parametrize(
    ("former", "like", "content"),
    [(b"new\n", True, None), (b"old\n", False, b"old\n"), (None, False, None)],
)
def test_a_new_file_is_compared_with_its_former_place(
    agent: AgentProcess,
    tmp_path: Path,
    former: bytes | None,
    like: bool,
    content: bytes | None,
) -> None:
    if former is not None:
        (tmp_path / "former").write_bytes(former)
    query = {
        "sha256": hashlib.sha256(b"new\n").hexdigest(),
        "want_content": True,
        "former": f"{tmp_path}/former",
    }
    asked = {"id": "file:x", "kind": "file", "name": f"{tmp_path}/new", "query": query}
    (seen,) = agent.ask("probe", resources=[asked])["observations"]
    assert (seen["attributes"], seen["like_former"]) == (None, like)
    given = seen.get("content_b64")
    assert (None if given is None else base64.b64decode(given)) == content
