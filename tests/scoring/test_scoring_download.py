"""Downloads from a server on this machine that stands for the hub, cuts connections and lies."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from crdiff.scoring import download as module
from crdiff.scoring.download import download
from crdiff.scoring.errors import DownloadError, DownloadStoppedError
from crdiff.scoring.sources import CLIP, IMAGE_REWARD, RemoteFile, Source

CONTENT = bytes(i * 7919 % 251 for i in range(5_000)) * 1_000
SHA = hashlib.sha256(CONTENT).hexdigest()
SMALL = b"[PAD]\n[UNK]\n"


class Hub:
    """What the server does; ``cuts`` are the numbers of bytes after which it drops connections, one by one."""

    def __init__(self):
        self.cuts = []
        self.ranges = []
        self.etag = SHA
        self.content = CONTENT
        self.fail = 0
        self.no_ranges = False


@pytest.fixture
def hub(monkeypatch):
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            if state.fail:
                self.send_error(state.fail)
            elif self.path == "/storage/big":
                self.answer(state.content)
            elif self.path.endswith("small.txt"):
                git = hashlib.sha1(b"blob %d\0" % len(SMALL) + SMALL).hexdigest()
                self.answer(SMALL, ETag=f'"{git}"')
            else:
                self.send_response(302)
                self.send_header("Location", "/storage/big")
                if state.etag:
                    self.send_header("X-Linked-Etag", f'"{state.etag}"')
                self.send_header("Content-Length", "0")
                self.end_headers()

        def answer(self, content, **headers):
            asked = None if state.no_ranges else self.headers.get("Range")
            state.ranges.append(asked)
            start = int(asked[len("bytes=") : -1]) if asked else 0
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            cut = state.cuts.pop(0) if state.cuts else None
            self.wfile.write(content[start:] if cut is None else content[start : start + cut])
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield state
    server.shutdown()
    server.server_close()


def source(sha256=None):
    return Source("Test", "Test", (RemoteFile("big.bin", "some/model", size=len(CONTENT), sha256=sha256),))


@pytest.mark.parametrize("pinned", [SHA, None])
def test_a_download_arrives_whole_and_is_not_repeated(hub, tmp_path, pinned):
    seen = []
    (path,) = download(source(pinned), tmp_path / "new" / "folder", lambda *news: seen.append(news))
    assert path.read_bytes() == CONTENT
    assert seen[0] == ("big.bin", 0, len(CONTENT)) and seen[-1] == ("big.bin", len(CONTENT), len(CONTENT))
    assert [path.name for path in path.parent.iterdir()] == ["big.bin"]
    asked = len(hub.ranges)
    download(source(pinned), path.parent)
    assert len(hub.ranges) == asked


def test_cut_connections_are_gone_on_with(hub, tmp_path):
    hub.cuts = [1_000_000, 2_500_000]
    (path,) = download(source(SHA), tmp_path)
    assert path.read_bytes() == CONTENT
    assert hub.ranges == [None, "bytes=1000000-", "bytes=3500000-"]


def test_a_stop_keeps_what_is_there_for_the_next_start(hub, tmp_path):
    got = []
    with pytest.raises(DownloadStoppedError, match="resumes from there"):
        download(source(SHA), tmp_path, lambda _, have, __: got.append(have), lambda: bool(got and got[-1] > 2_000_000))
    assert not (tmp_path / "big.bin").exists()
    kept = (tmp_path / "big.bin.part").stat().st_size
    assert 2_000_000 < kept < len(CONTENT)
    (path,) = download(source(SHA), tmp_path)
    assert path.read_bytes() == CONTENT and hub.ranges[-1] == f"bytes={kept}-"


def test_a_server_without_ranges_starts_anew(hub, tmp_path):
    (tmp_path / "big.bin.part").write_bytes(b"x" * 1000)
    hub.no_ranges = True
    assert download(source(SHA), tmp_path)[0].read_bytes() == CONTENT


def test_a_complete_part_is_only_checked(hub, tmp_path):
    (tmp_path / "big.bin.part").write_bytes(CONTENT)
    assert download(source(SHA), tmp_path)[0].read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_thrown_away(hub, tmp_path):
    (tmp_path / "big.bin.part").write_bytes(CONTENT + b"more")
    assert download(source(SHA), tmp_path)[0].read_bytes() == CONTENT


@pytest.mark.parametrize("pinned", [True, False])
def test_another_content_is_refused_and_removed(hub, tmp_path, pinned):
    hub.content = CONTENT[:-1] + b"!"
    with pytest.raises(DownloadError, match="not the published file"):
        download(source(SHA if pinned else None), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_spoilt_part_is_found_out(hub, tmp_path):
    (tmp_path / "big.bin.part").write_bytes(b"x" * 1000)
    with pytest.raises(DownloadError, match="not the published file"):
        download(source(SHA), tmp_path)
    assert download(source(SHA), tmp_path)[0].read_bytes() == CONTENT


def test_without_a_digest_nothing_is_taken(hub, tmp_path):
    hub.etag = None
    with pytest.raises(DownloadError, match="does not state the SHA-256"):
        download(source(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_small_files_are_checked_by_gits_digest(hub, tmp_path):
    files = Source("Test", "Test", (RemoteFile("small.txt", "some/model"),))
    assert download(files, tmp_path)[0].read_bytes() == SMALL


@pytest.mark.parametrize(("code", "words"), [(404, "answers 404"), (401, "answers 401"), (503, "503")])
def test_an_answer_of_the_server_is_passed_on(hub, tmp_path, code, words):
    hub.fail = code
    with pytest.raises(DownloadError, match=words):
        download(source(SHA), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_network_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(DownloadError, match="by hand") as caught:
        download(source(SHA), tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_full_disk_is_seen_before_it_is_full(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 101_000_000}))
    with pytest.raises(DownloadError, match="are free"):
        download(source(SHA), tmp_path)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="cannot be made"):
        download(source(SHA), tmp_path / "file" / "folder")


def test_two_downloads_of_a_file_do_not_mix(hub, tmp_path):
    errors = []

    def again(*_):
        if not errors:
            try:
                download(source(SHA), tmp_path)
            except DownloadError as error:
                errors.append(str(error))

    assert download(source(SHA), tmp_path, again)[0].read_bytes() == CONTENT
    assert "already" in errors[0]


def test_the_offer_names_source_size_and_folder(tmp_path):
    offer = IMAGE_REWARD.offer(tmp_path)
    for words in ("https://huggingface.co/THUDM/ImageReward", "1.8 GB", str(tmp_path), "bert-base-uncased"):
        assert words in offer
    assert "1.7 GB" in CLIP.offer(tmp_path)
