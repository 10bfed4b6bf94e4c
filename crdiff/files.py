"""Files that are replaced as a whole, and what was read from files that may change."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

_ATTEMPTS = 6
_FIRST_PAUSE_S = 0.02
_HASH_BLOCK = 1 << 20

T = TypeVar("T")


def replace(source: Path, target: Path) -> None:
    """``os.replace`` that waits for a while on a file in use.

    On Windows a virus scanner or an indexer that holds either file makes the call fail for some milliseconds.

    Raises:
        OSError: the file is still in use after about 0.6 s, or cannot be replaced for another reason.
    """
    pause = _FIRST_PAUSE_S
    for _ in range(_ATTEMPTS - 1):
        with suppress(PermissionError):
            os.replace(source, target)
            return
        time.sleep(pause)
        pause *= 2
    os.replace(source, target)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the content of ``path`` by ``data``, or leave the file as it was.

    A symbolic link is followed, and missing folders are made.

    Raises:
        OSError: the folder or file cannot be written.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    # The same folder, since a rename is atomic only within one file system.
    draft = target.with_name(f"{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(draft, "xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        replace(draft, target)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


class Remembered(Generic[T]):
    """What files were read as, each until its size or time of change is another.

    A read that raises is never remembered: a file that is locked, half copied or on a drive that is away may be
    readable a moment later.

    Args:
        read: makes the value of a file.
    """

    def __init__(self, read: Callable[[Path], T]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[_Stamp, T]] = {}

    def get(self, path: Path) -> T:
        """The value of a file as it is now.

        Raises:
            Exception: what ``read`` raises.
        """
        stamp = _stamp(path)
        with self._lock:
            known = self._known.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        value = self._read(path)
        if stamp is not None and stamp == _stamp(path):  # not replaced while it was read
            with self._lock:
                self._known[path] = (stamp, value)
        return value

    def latest(self, path: Path) -> T | None:
        """The value that a file had when it could be read last; None if it never could."""
        with self._lock:
            known = self._known.get(path)
        return None if known is None else known[1]


_Stamp = tuple[int, int, int]


def _stamp(path: Path) -> _Stamp | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    # The inode tells a file that was replaced by one of the same size within a tick of the clock.
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
