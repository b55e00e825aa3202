"""Before-images: the contents that a revert needs, each kept once."""

from __future__ import annotations

import os

from deployer.agent import settings
from deployer.agent.encoding import sha256
from deployer.agent.errors import StepError
from deployer.agent.files import chunks_of, names_in, read_json, write_all
from deployer.agent.settings import CHUNK_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class ImageWriter:
    """Appends compressed contents to one pack, each content once.

    A content that an older pack in `known` has is not written again.
    """

    def __init__(self, path: str, known: Images | None = None) -> None:
        self.name = os.path.basename(path)
        self._known = known
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        self._end = 0
        self.index: dict[str, list[Any]] = {}

    def add(self, path: str) -> str:
        """Add the content of `path`; returns its hash."""
        import zlib

        start, digest, packer = self._end, sha256(), zlib.compressobj(1)
        for data in chunks_of(path):
            digest.update(data)
            self._write(packer.compress(data))
        self._write(packer.flush())
        name = digest.hexdigest()
        if name not in self.index:
            older = self._known.intact(name) if self._known else None
            self.index[name] = older or [self.name, start, self._end - start]
            if older is None:
                return name
        os.ftruncate(self._fd, start)
        os.lseek(self._fd, start, os.SEEK_SET)
        self._end = start
        return name

    def _write(self, data: bytes) -> None:
        write_all(self._fd, data)
        self._end += len(data)

    def close(self) -> None:
        try:
            os.fsync(self._fd)
        finally:
            os.close(self._fd)


class Images:
    """Reads contents from the packs in `folder` and checks their hashes."""

    def __init__(self, folder: str, index: dict[str, list[Any]]) -> None:
        self._folder = folder
        self._index = index

    def has(self, name: str | None) -> bool:
        return name in self._index

    def intact(self, name: str) -> list[Any] | None:
        """The position of a content, if it is intact."""
        if name not in self._index:
            return None
        try:
            for _ in self._read(name):
                pass
        except StepError:
            return None
        return self._index[name]

    def write(self, name: str, out: int) -> None:
        """Write one content to the descriptor `out`.

        Raises:
            StepError: its hash does not match.
        """
        for data in self._read(name):
            write_all(out, data)

    def read(self, name: str) -> bytes:
        """One content as a whole.

        Raises:
            StepError: its hash does not match.
        """
        return b"".join(self._read(name))

    def _read(self, name: str) -> Iterator[bytes]:
        import zlib

        pack_name, start, left = self._index[name]
        digest, unpacker = sha256(), zlib.decompressobj()
        try:
            with open(os.path.join(self._folder, pack_name), "rb") as pack:
                pack.seek(start)
                while left > 0:
                    packed = pack.read(min(left, CHUNK_BYTES))
                    if not packed:
                        break
                    left -= len(packed)
                    data = unpacker.decompress(packed)
                    digest.update(data)
                    yield data
            data = unpacker.flush()
            digest.update(data)
            yield data
        except (OSError, zlib.error) as error:
            raise StepError(f"its before-image cannot be read: {error}") from None
        if digest.hexdigest() != name:
            raise StepError("its before-image is damaged, so it stays as it is")


def known_images() -> Images:
    """The contents in the packs of all earlier commits."""
    index: dict[str, list[Any]] = {}
    for name in sorted(names_in(settings.IMAGES)):
        if name.endswith(".json"):
            index.update(read_json(os.path.join(settings.IMAGES, name)) or {})
    return Images(settings.IMAGES, index)
