"""Downloading the published files, only when asked: resumed after a cut, checked, and put in place in one step."""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from crdiff.files import replace
from crdiff.scoring.errors import DownloadError, DownloadStoppedError
from crdiff.scoring.sources import RemoteFile, Source, gigabytes

Progress = Callable[[str, int, int], None]
"""Called with a file's name, the bytes of it that are here, and its size in bytes."""

_CHUNK = 1 << 20
_TIMEOUT_S = 30.0
_FRUITLESS = 3
"""Attempts in a row that bring nothing before a download gives up; a cut connection is resumed by itself."""

_SPARE = 100_000_000
"""Bytes to be left free on the disk."""

_running: set[Path] = set()
_lock = threading.Lock()


def download(
    source: Source,
    target: Path,
    on_progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[Path]:
    """Fetch the files of a model that are not in a folder yet; ``source.offer(target)`` says so to the user first.

    Args:
        source: the model.
        target: the folder, made if need be. An unfinished file is called ``NAME.part`` there and is gone on with.
        on_progress: called about once per MB.
        should_stop: asked about once per MB.

    Returns:
        The files, in the order of ``source.files``.

    Raises:
        DownloadStoppedError: stopped on request.
        DownloadError: there is no network, no space, or the content is not what was published.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(f"The folder {target} cannot be made ({error.strerror}).") from None
    paths = []
    for file in source.files:
        path = target / file.name
        if not path.is_file():
            with _lock:
                if path in _running:
                    raise DownloadError(f"{file.name} is being downloaded to {target} already.")
                _running.add(path)
            try:
                _download_file(file, path, on_progress or (lambda *_: None), should_stop or (lambda: False))
            except OSError as error:
                raise DownloadError(f"{file.name} cannot be written to {target} ({error.strerror or error}).") from None
            finally:
                with _lock:
                    _running.discard(path)
        paths.append(path)
    return paths


def _download_file(file: RemoteFile, path: Path, on_progress: Progress, should_stop: Callable[[], bool]) -> None:
    """One file, over as many connections as it takes."""
    part = path.with_name(path.name + ".part")
    fruitless = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            digest = _receive(file, part, on_progress, should_stop)
            break
        except (urllib.error.HTTPError, _StaleError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code not in (408, 429, 500, 502, 503, 504):
                raise DownloadError(f"{file.url} answers {error.code} ({error.reason}).") from None
            reason: object = error
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", error)
        gained = (part.stat().st_size if part.exists() else 0) > before
        fruitless = 0 if gained else fruitless + 1
        if fruitless == _FRUITLESS:
            text = " ".join(str(reason).split()).rstrip(".")
            kept = " What is there already is kept." if part.exists() else ""
            raise DownloadError(
                f"{file.name} could not be fetched from {file.url} ({text}); without a network, put it into "
                f"{path.parent} by hand.{kept}"
            ) from None
    _check(file, part, digest)
    replace(part, path)


class _StaleError(Exception):
    """The unfinished file is none of this content; it has been removed."""


def _receive(file: RemoteFile, part: Path, on_progress: Progress, should_stop: Callable[[], bool]) -> str:
    """One connection: appends what is missing.

    Returns:
        The digest of the whole content: the published one, else the one that the hub states.

    Raises:
        ConnectionError: the connection ended before the content did.
    """
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(file.url, headers={"User-Agent": "crdiff", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    redirects = _Redirects()
    try:
        answer = urllib.request.build_opener(redirects).open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        digest = file.sha256 or redirects.digest or _stated(error.headers)
        if digest and _total(error.headers) == have:
            return digest  # it was complete, and only the check was missing
        part.unlink(missing_ok=True)
        raise _StaleError("the unfinished file was too long") from None
    with answer:
        digest = file.sha256 or redirects.digest or _stated(answer.headers)
        if digest is None:
            raise DownloadError(f"{file.url} does not state the SHA-256 of {file.name}, so it is not taken.")
        if answer.status != 206 or not str(answer.headers.get("Content-Range")).startswith(f"bytes {have}-"):
            have = 0
        total = _total(answer.headers) or have + int(answer.headers.get("Content-Length") or 0)
        free = shutil.disk_usage(part.parent).free
        if total - have > max(0, free - _SPARE):
            raise DownloadError(
                f"{file.name} needs {gigabytes(total - have)} more in {part.parent}, where {gigabytes(free)} are free."
            )
        with open(part, "ab" if have else "wb") as stream:
            _copy(answer, stream, file.name, have, total, on_progress, should_stop)
        if total and part.stat().st_size < total:
            raise ConnectionError("the connection was cut")
    return digest


def _copy(
    answer: Any,
    stream: IO[bytes],
    name: str,
    have: int,
    total: int,
    on_progress: Progress,
    should_stop: Callable[[], bool],
) -> None:
    """From the connection to the file, in pieces; a stop leaves all pieces so far."""
    on_progress(name, have, total)
    while True:
        if should_stop():
            raise DownloadStoppedError(f"The download of {name} was stopped; started again, it resumes from there.")
        piece = answer.read(_CHUNK)
        if not piece:
            return
        stream.write(piece)
        have += len(piece)
        on_progress(name, have, total)


def _check(file: RemoteFile, part: Path, digest: str) -> None:
    """Compare with the digest: a SHA-256, or for small files git's SHA-1 of the content with its length.

    Raises:
        DownloadError: they differ; the file is removed, since going on from it would be of no use.
    """
    git = len(digest) == 40
    value = hashlib.sha1(b"blob %d\0" % part.stat().st_size, usedforsecurity=False) if git else hashlib.sha256()
    with open(part, "rb") as stream:
        while piece := stream.read(_CHUNK):
            value.update(piece)
    if value.hexdigest() != digest.lower():
        with suppress(OSError):
            part.unlink()
        kind = "SHA-1" if git else "SHA-256"
        raise DownloadError(
            f"{file.name} from {file.url} is not the published file: its {kind} begins "
            f"{value.hexdigest()[:10]} instead of {digest[:10]}; it was removed."
        )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows the hub to its storage and keeps the digest, which only the hub's own answer states."""

    def __init__(self) -> None:
        self.digest: str | None = None

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        self.digest = self.digest or _stated(headers, redirect=True)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _stated(headers: Any, redirect: bool = False) -> str | None:
    """The digest in the hub's headers: X-Linked-Etag for large files, the Etag of small ones is git's."""
    linked = re.fullmatch(r'(?:W/)?"?([0-9a-fA-F]{64})"?', headers.get("X-Linked-Etag") or "")
    if linked:
        return linked[1]
    small = None if redirect else re.fullmatch(r'(?:W/)?"?([0-9a-fA-F]{40})"?', headers.get("ETag") or "")
    return small[1] if small else None


def _total(headers: Any) -> int | None:
    """The size of the whole content, of a partial answer."""
    match = re.search(r"/(\d+)$", headers.get("Content-Range") or "")
    return int(match[1]) if match else None
