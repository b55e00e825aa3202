"""Reading files of the controller: nothing endless, nothing that blocks."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from deployer.text import reading
from deployer.text.reading import is_regular, read_limited


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_files_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    assert read_limited(path, 1000) == b"x" * 1000
    with pytest.raises(OSError, match="it has 1,000 bytes; at most 999 are read"):
        read_limited(path, 999)
    os.truncate(path, 1 << 40)  # has no blocks on disk
    with pytest.raises(OSError, match="1,099,511,627,776 bytes"):
        read_limited(path)


def test_devices() -> None:
    assert read_limited(Path("/dev/null")) == b""
    with pytest.raises(OSError, match="it has more than 100 bytes"):
        read_limited(Path("/dev/zero"), 100)


def test_a_pipe_that_no_program_writes_to(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_PIPE_S", 0.1)
    with pytest.raises(OSError, match="did not end within"):
        read_limited(pipe)
    assert not is_regular(pipe)


def test_a_pipe_is_read_to_its_end(pipe: Path) -> None:
    def write() -> None:
        with pipe.open("wb") as file:
            for _ in range(100):
                file.write(b"x" * 1000)
                file.flush()

    writer = threading.Thread(target=write)
    writer.start()
    assert read_limited(pipe) == b"x" * 100_000
    writer.join()


def test_a_pipe_without_end(pipe: Path) -> None:
    descriptor = os.open(pipe, os.O_RDWR)
    os.write(descriptor, b"x" * 200)
    with pytest.raises(OSError, match="it has more than 100 bytes"):
        read_limited(pipe, 100)
    os.close(descriptor)


def test_folders_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_limited(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_limited(tmp_path / "none")
    with pytest.raises(ValueError, match="null byte"):
        read_limited(Path("a\0b"))
    assert not is_regular(Path("a\0b"))
