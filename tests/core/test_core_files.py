"""What was read from files that change, fail for a while, or come back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crdiff.files import Remembered, write_atomically


@pytest.fixture
def remembered():
    reads: list[Path] = []

    def read(path: Path) -> bytes:
        reads.append(path)
        return path.read_bytes()

    return Remembered(read), reads


def test_a_file_is_read_once_until_it_changes(remembered, tmp_path):
    memory, reads = remembered
    path = tmp_path / "a"
    path.write_bytes(b"one")
    assert [memory.get(path), memory.get(path), len(reads)] == [b"one", b"one", 1]
    stat = path.stat()
    write_atomically(path, b"two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # within a tick of the clock, and of the same size
    assert memory.get(path) == b"two"
    path.write_bytes(b"three")
    assert memory.get(path) == b"three"


def test_a_read_that_fails_is_tried_again_and_what_was_known_is_kept(remembered, tmp_path):
    memory, _ = remembered
    path = tmp_path / "a"
    path.mkdir()
    for _ in range(2):
        with pytest.raises(OSError):
            memory.get(path)
    assert memory.latest(path) is None
    path.rmdir()
    path.write_bytes(b"one")
    assert memory.get(path) == b"one"
    path.unlink()
    with pytest.raises(OSError):
        memory.get(path)
    assert memory.latest(path) == b"one"


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"half")
    contents = iter([b"whole", b"whole"])

    def read(path: Path) -> bytes:
        found = path.read_bytes()
        path.write_bytes(next(contents))
        return found

    memory = Remembered(read)
    assert [memory.get(path), memory.get(path)] == [b"half", b"whole"]
