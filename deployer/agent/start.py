"""How the agent starts from its bundle: the first module that runs on the host.

The bundle is a zip file of this package (`bundle.py`). The loader (deployer/transport/bootstrap.py)
has it compressed and, in its cache, the compiled code of each module; then nothing has to be
decompressed or compiled. At first contact there is no code yet: each module is compiled when it is
imported, which for most requests is a third of all, while a child process compiles all of them for
the cache.
"""

from __future__ import annotations

import marshal
import os
import stat
import sys
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType, ModuleType
    from typing import Any

#: importlib's, which importlib.machinery would take longer to import.
_ModuleSpec: Any = type(sys.__spec__)
_NAME_AT, _SIZE_AT, _HEAD = 26, 22, 30


def sources_in(archive: bytes) -> dict[str, bytes]:
    """The sources in a zip file with uncompressed members, by module name.

    The name of a package ends with ``.__init__``. Importing zipfile would take too long.
    Source: APPNOTE.TXT, 4.3.7, local file headers.
    """
    found, at = {}, 0
    while archive[at : at + 4] == b"PK\3\4":
        size = int.from_bytes(archive[at + _SIZE_AT : at + _SIZE_AT + 4], "little")
        length = int.from_bytes(archive[at + _NAME_AT : at + _NAME_AT + 2], "little")
        name = archive[at + _HEAD : at + _HEAD + length].decode()
        at += _HEAD + length
        if name.endswith(".py"):
            found[name[:-3].replace("/", ".")] = archive[at : at + size]
        at += size
    return found


class Bundle:
    """The agent's modules: a finder and loader for `sys.meta_path`."""

    def __init__(self, packed: bytes, codes: Mapping[str, bytes]) -> None:
        self.packed = packed
        self._codes = codes
        self._sources = {} if codes else sources_in(self.archive())
        self._names = set(codes or self._sources)

    def archive(self) -> bytes:
        """The zip file, which Python can run."""
        return zlib.decompress(self.packed)

    def _code_of(self, name: str) -> CodeType:
        if name in self._codes:
            code: CodeType = marshal.loads(self._codes[name])  # noqa: S302 - root's own
            return code
        return self._compiled(name)

    def _compiled(self, name: str) -> CodeType:
        path = name.replace(".", "/") + ".py"
        return compile(self._sources[name], path, "exec", dont_inherit=True, optimize=2)

    def compile_all(self) -> dict[str, bytes]:
        """The code of every module, for the cache."""
        return {name: marshal.dumps(self._compiled(name)) for name in self._sources}

    # importlib's protocol: https://docs.python.org/3/reference/import.html#the-meta-path

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The spec of a module of the agent; `None` for others."""
        is_package = name + ".__init__" in self._names
        if not is_package and name not in self._names:
            return None
        return _ModuleSpec(name, self, is_package=is_package)

    def create_module(self, spec: Any) -> None:
        """Let importlib make the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        is_package = hasattr(module, "__path__")
        code = self._code_of(module.__name__ + ".__init__" if is_package else module.__name__)
        exec(code, module.__dict__)  # noqa: S102 - as every import does


def cache_file(parts: dict[str, bytes]) -> bytes:
    """A checksum, the length of a table, the table of positions by name, and the parts.

    The loader unmarshals the table only, and copies no part.
    """
    places, at = {}, 0
    for name, part in parts.items():
        places[name] = (at, len(part))
        at += len(part)
    table = marshal.dumps(places)
    data = len(table).to_bytes(4, "big") + table + b"".join(parts.values())
    return zlib.crc32(data).to_bytes(4, "big") + data


class Cache:
    """A file of compiled code that only root can write to; the loader reads it."""

    def __init__(self, path: str, folders: tuple[str, ...], is_safe: Callable[..., bool]) -> None:
        """`is_safe` checks that a path has a type, and that only root can write to it."""
        self._path = path
        self._folders = folders
        self._is_safe = is_safe

    def fill(self, bundle: Bundle) -> None:
        """Compile all modules and write them; remove the files of other versions."""
        for folder in self._folders:
            if not os.path.lexists(folder):
                os.mkdir(folder, 0o700)
            if not self._is_safe(folder, stat.S_ISDIR):
                return
        data = cache_file({"": bundle.packed, **bundle.compile_all()})
        new = f"{self._path}.{os.getpid()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
            file.write(data)
        os.rename(new, self._path)
        for name in os.listdir(self._folders[-1]):
            other = os.path.join(self._folders[-1], name)
            if name.startswith(("agent-", "runner-")) and other != self._path:
                os.unlink(other)


def _in_background(work: Callable[[], None]) -> None:
    """Do `work` in a process that may outlive this one; nothing depends on its success."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        if os.fork() == 0:
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(null, descriptor)
            os.nice(10)
            work()
    finally:
        os._exit(0)


def start(
    packed: bytes,
    codes: Mapping[str, bytes],
    *,
    cache: tuple[Any, ...] = (),
    settings: dict[str, Any] | None = None,
) -> None:
    """Serve the controller; `cache` are the arguments of `Cache` if it has to be filled."""
    bundle = Bundle(packed, codes)
    sys.meta_path.insert(0, bundle)
    if cache:
        try:
            _in_background(lambda: Cache(*cache).fill(bundle))
        except OSError:
            pass  # the next run compiles again
    if settings:
        from deployer.agent.settings import configure

        configure(**settings)
    from deployer.agent.main import main

    main(bundle.archive)
