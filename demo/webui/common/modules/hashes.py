"""File hashes, remembered for as long as the file does not change."""

from __future__ import annotations

import hashlib
import os

_known: dict[tuple[str, float, int], str] = {}


def _key(filename: str) -> tuple[str, float, int]:
    stat = os.stat(filename)
    return os.path.abspath(filename), stat.st_mtime, stat.st_size


def sha256_from_cache(filename: str, title: str, use_addnet_hash: bool = False) -> str | None:
    return _known.get(_key(filename))


def sha256(filename: str, title: str, use_addnet_hash: bool = False) -> str:
    key = _key(filename)
    if key not in _known:
        with open(filename, "rb") as file:
            _known[key] = hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else (
                hashlib.sha256(file.read()).hexdigest())
    return _known[key]
