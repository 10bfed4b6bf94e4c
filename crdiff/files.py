"""Files that are replaced as a whole, so that a crash leaves the old content or the new one."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

_ATTEMPTS = 6
_FIRST_PAUSE_S = 0.02


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
