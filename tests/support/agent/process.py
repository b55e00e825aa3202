"""The real agent as a process, with a state folder, an /etc and a /var/lib of its own."""

from __future__ import annotations

import base64
import hashlib
import json
import marshal
import os
import pwd
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from deployer.agent.bundle import archive
from deployer.agent.start import Bundle

#: Starts the agent from its zip file, compressed: the first member is the module that runs first.
BOOTSTRAP = (
    "import sys,json,zlib\n"
    "i=sys.stdin.buffer\n"
    "n,s=json.loads(i.readline())\n"
    "b=i.read(n)\n"
    "d=zlib.decompress(b)\n"
    "a=30+int.from_bytes(d[26:28],'little')\n"
    "g={'__name__':'deployer.agent.start'}\n"
    "exec(d[a:a+int.from_bytes(d[22:26],'little')],g)\n"
    "g['start'](b,{},settings=s)\n"
)
#: The same with code that this very Python has compiled: most of a start is the compiling.
_QUICK_BOOTSTRAP = (
    "import sys,json,marshal\n"
    "i=sys.stdin.buffer\n"
    "n,s=json.loads(i.readline())\n"
    "b,c=marshal.loads(i.read(n))\n"
    "g={'__name__':'deployer.agent.start'}\n"
    "exec(marshal.loads(c['deployer.agent.start']),g)\n"
    "g['start'](b,c,settings=s)\n"
)
LIMIT_S = 120.0


class AgentRefusal(Exception):  # noqa: N818 - an answer
    """The agent's error reply."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["code"], error["message"])
        self.code: str = error["code"]
        self.error = error


class AgentProcess:
    """Talks to an agent (docs/reference/protocol.md) that `argv` starts with the bootstrap."""

    def __init__(
        self, argv: list[str], settings: dict[str, Any], *, body: bytes | None = None
    ) -> None:
        body = body or packed()
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        head = json.dumps([len(body), settings]).encode() + b"\n"
        assert self.process.stdin is not None
        self._write(head + body)
        self.hello = self.receive()
        self.events: list[dict[str, Any]] = []
        self.relayed: list[dict[str, Any]] = []
        self._id = 0

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self.process.stdin.fileno(), view) :]  # type: ignore[union-attr]

    def send(self, message: dict[str, Any]) -> None:
        body = json.dumps(message).encode()
        self._write(struct.pack(">I", len(body)) + body)

    def receive(self) -> dict[str, Any]:
        (length,) = struct.unpack(">I", self._exactly(4))
        message: dict[str, Any] = json.loads(self._exactly(length))
        return message

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.process.stdout.read(count - len(data))  # type: ignore[union-attr]
            if not more:
                error = self.process.stderr.read().decode()  # type: ignore[union-attr]
                raise AssertionError(f"the agent ended: {error}")
            data += more
        return data

    def start(self, name: str, **arguments: Any) -> int:
        self._id += 1
        self.send({"id": self._id, "request": name, **arguments})
        return self._id

    def finish(self, number: int) -> dict[str, Any]:
        while True:
            message = self.receive()
            if "relay" in message:
                self.relayed.append(message)
            elif "event" in message:
                self.events.append(message)
            else:
                assert message["id"] == number
                if "error" in message:
                    raise AgentRefusal(message["error"])
                reply: dict[str, Any] = message["reply"]
                return reply

    def ask(self, name: str, **arguments: Any) -> dict[str, Any]:
        """The reply of one request; its events are in `events`."""
        self.events.clear()
        return self.finish(self.start(name, **arguments))

    def probe(self, kind: str, name: str, **query: Any) -> dict[str, Any]:
        """One observation."""
        asked = {"id": f"{kind}:{name}", "kind": kind, "name": name, "query": query}
        observation: dict[str, Any] = self.ask("probe", resources=[asked])["observations"][0]
        return observation

    def plan(
        self, *changes: dict[str, Any], handlers: Any = (), digest: str = ""
    ) -> dict[str, Any]:
        """A plan over `change`s, each with what the host shows now."""
        asked = [
            {
                "id": change["resource_id"],
                "kind": kind,
                "name": name,
                "query": change["after"] or {},
            }
            for change in changes
            for kind, _, name in [change["resource_id"].partition(":")]
        ]
        seen = self.ask("probe", resources=asked)["observations"]
        for change, now in zip(changes, seen, strict=True):
            change["before"], change["fingerprint"] = now["attributes"], now["fingerprint"]
            if change["after"] is None:
                change["action"] = "delete"
            else:
                change["action"] = "create" if now["attributes"] is None else "update"
        return {"format_version": 1, "changes": list(changes), "handlers": list(handlers),
                "digest": digest}  # fmt: skip

    def apply(self, *changes: dict[str, Any], commit: str = "c1", handlers: Any = ()) -> Any:
        """Plan and apply."""
        plan = self.plan(*changes, handlers=handlers)
        return self.ask("apply", plan=plan, commit=commit_of(commit))

    def end(self) -> int:
        """Close standard input, and wait until the agent has ended."""
        self.process.stdin.close()  # type: ignore[union-attr]
        code = self.process.wait(LIMIT_S)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return code


def commit_of(name: str) -> dict[str, Any]:
    return {"id": name, "who": "ada", "from": "desk", "rollback_duration_s": 60}


def change(resource_id: str, after: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    """One change of a plan; its fingerprint comes with `AgentProcess.plan`."""
    return {"resource_id": resource_id, "after": after, "stage": 0, "reason": "", "secret": False,
            **more}  # fmt: skip


def file_change(path: Path | str, content: bytes, **attributes: Any) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    after = {"type": "file", "sha256": digest, "size": len(content), **attributes}
    encoded = base64.b64encode(content).decode()
    return change(f"file:{path}", after, after_content_b64=encoded)


def me() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


@cache
def packed() -> bytes:
    """The agent as it is sent to a host."""
    return zlib.compress(archive())


@cache
def compiled() -> dict[str, bytes]:
    """The code of all its modules, for this Python."""
    return Bundle(packed(), {}).compile_all()


@cache
def _body() -> bytes:
    return marshal.dumps((packed(), compiled()))


def local_agent(folder: Path, *, python: str | None = None, **settings: Any) -> AgentProcess:
    """An agent here, whose /etc and /var/lib are folders below `folder`."""
    for name in ("etc", "var_lib"):
        (folder / name).mkdir(exist_ok=True)
        settings[name] = str(folder / name)
    settings["state"] = str(folder / "var_lib" / "deployer")
    (folder / "cache").mkdir(exist_ok=True)
    settings["cache"] = str(folder / "cache")
    settings.setdefault("watchdog", False)  # the machine's systemd is not the folder's
    if python:
        return AgentProcess([python, "-I", "-c", BOOTSTRAP], settings)
    argv = [sys.executable, "-I", "-S", "-c", _QUICK_BOOTSTRAP]
    return AgentProcess(argv, settings, body=_body())


def snapshot(folder: Path, *, without: tuple[str, ...] = ("deployer",)) -> dict[str, Any]:
    """Everything about everything below `folder`: type, mode, owner, times, target, content."""
    return dict(_entries(folder, without))


def _entries(path: Path, without: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    info = path.lstat()
    content: Any = None
    if path.is_symlink():
        content = str(path.readlink())
    elif path.is_file():
        content = path.read_bytes()
    yield str(path), (info.st_mode, info.st_uid, info.st_gid, info.st_mtime_ns, content)
    if path.is_dir() and not path.is_symlink():
        for child in path.iterdir():
            if child.name not in without:
                yield from _entries(child, without)
