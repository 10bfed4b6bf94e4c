"""Parts of the search's page without a host: what is saved, asked and downloaded."""

from __future__ import annotations

import hashlib
import html
import json
import re
import sys
import threading
import xml.etree.ElementTree as ElementTree
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from crdiff.models.checkpoint import Checkpoint
from crdiff.models.unet import SD15
from crdiff.presets.size import Size
from crdiff.scoring.model_files import ModelFiles
from crdiff.scoring.sources import RemoteFile, Source
from crdiff.search.errors import JournalError
from crdiff.search.journal import FORMAT, Journal
from crdiff.search.report import Evaluation, Report
from crdiff.search.strategies.point import DENSE, Point
from crdiff.settings import Settings
from crdiff.webui.search import journals, results
from crdiff.webui.search.downloads import Downloads
from crdiff.webui.search.journals import latest
from crdiff.webui.search.judge import ScorerCache
from crdiff.webui.search.monitor import Question, SearchMonitor, SearchStatus
from crdiff.webui.search.panel import panel_html, results_html

CHECKPOINT = Checkpoint("model", SD15, "ab" * 32)
SIZE = Size(96, 64)
BEST = Evaluation(2, Point(0.31, 0.42, 0.53, 1.2), "seed", 0.75, 0.75, (0.75,), True, False)
BASELINE = Evaluation(1, DENSE, "baseline", 0.25, 0.25, (0.25,), True, False)
STATUS = SearchStatus(
    "done", report=Report(baseline=BASELINE, best=BEST, history=(BASELINE, BEST)), checkpoint=CHECKPOINT, size=SIZE,
    prompts=("a red house",), score_name="own",
)  # fmt: skip


def found_for(folder, checkpoint=CHECKPOINT, size=SIZE, prompt="a red house"):
    return results.find(folder, checkpoint, size, prompt)


def test_a_result_is_offered_for_its_checkpoint_size_and_prompt_only(tmp_path):
    results.save_best(tmp_path / "new", STATUS)
    (found,) = found_for(tmp_path / "new", prompt=" a red house\n")
    assert (found.down, found.mid, found.up, found.k) == (0.31, 0.42, 0.53, 1.2)
    assert found.describe() == "last search: 0.310/0.420/0.530, k 1.2 (score 0.750, dense 0.250 by own)"
    staged = replace(BEST, point=Point(0.31, 0.42, 0.53, 1.2, (Point(0.1, 0.42, 0.53, 1.2),)))
    results.save(tmp_path / "new", results.results_of(replace(STATUS, report=Report(best=staged)), "two stages"))
    found = found_for(tmp_path / "new")[0]
    assert found.describe().startswith("two stages: 0.31/0.42/0.53; 0.1/0.42/0.53 from 0.5, k 1.2")
    assert found.applied()["stages"] == "0.31/0.42/0.53; 0.1/0.42/0.53 from 0.5"
    other = Checkpoint("model-2", SD15, "cd" * 32)
    assert not found_for(tmp_path / "new", checkpoint=other)
    assert not found_for(tmp_path / "new", size=Size(64, 96))
    assert not found_for(tmp_path / "new", prompt="a blue house")
    assert not found_for(tmp_path / "nowhere")


def test_a_later_search_replaces_an_earlier_one_and_no_kept_name(tmp_path):
    results.save(tmp_path, results.results_of(STATUS, "mine"))
    results.save_best(tmp_path, STATUS)
    better = Evaluation(3, Point(0.6, 0.42, 0.53, 1.7), "seed", 0.8, 0.8, (0.8,), True, False)
    later = SearchStatus("done", report=Report(best=better), checkpoint=CHECKPOINT, size=SIZE, prompts=("a red house",))
    results.save_best(tmp_path, later)
    assert [(one.name, one.down, one.k) for one in found_for(tmp_path)] == [("mine", 0.31, 1.2), ("", 0.6, 1.7)]


def test_searches_over_several_prompts_are_only_kept_on_request(tmp_path):
    many = SearchStatus("done", report=STATUS.report, checkpoint=CHECKPOINT, size=SIZE, prompts=("a red house", "b"))
    results.save_best(tmp_path, many)
    assert not found_for(tmp_path)
    results.save(tmp_path, results.results_of(many, "both"))
    assert [one.name for one in found_for(tmp_path, prompt="b")] == ["both"]


def test_nothing_better_than_dense_is_not_saved(tmp_path):
    results.save_best(tmp_path, SearchStatus("done", report=Report(best=BASELINE), checkpoint=CHECKPOINT, size=SIZE,
                                            prompts=("a red house",)))  # fmt: skip
    assert not (tmp_path / results.FILE).exists()


def test_results_of_version_1_0_0_are_offered(tmp_path):
    (tmp_path / results.FILE).write_text(
        '{"checkpoint": "abababababababababababababababababababababababababababababababab", "size": "96x64", '
        '"prompt": "a red house", "down": 0.3517, "mid": 0.346, "up": 0.2, "k": null, "score": -0.4741693899782135, '
        '"dense": -0.5168362353622005, "score_name": "own", "name": ""}\n',
        encoding="utf-8",
    )
    (found,) = found_for(tmp_path)
    assert found.describe() == "last search: 0.352/0.346/0.200 (score -0.474, dense -0.517 by own)"


def test_damaged_lines_are_skipped(tmp_path):
    results.save_best(tmp_path, STATUS)
    path = tmp_path / results.FILE
    good = path.read_text(encoding="utf-8")
    bad = json.loads(good)
    lines = ["no json", "[]", "{}", json.dumps({**bad, "down": 1.5}), json.dumps({**bad, "k": "x"}), good[:30]]
    path.write_text("\n".join([*lines[:-1], good.strip(), lines[-1]]), encoding="utf-8")
    assert len(found_for(tmp_path)) == 1
    results.save(tmp_path, results.results_of(STATUS, "after a line cut off"))
    assert [found.name for found in found_for(tmp_path)] == ["after a line cut off", ""]


def test_a_journal_that_cannot_be_looked_at_hides_no_search(tmp_path):
    head = {"crdiff_search": FORMAT, "size": "96x64", "checkpoint_name": "model", "search": {}}
    (tmp_path / "kept.jsonl").write_text(json.dumps(head, separators=(",", ":")) + "\n", encoding="utf-8")
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    assert latest(tmp_path).path.name == "kept.jsonl"
    assert latest(tmp_path / "nowhere") is None


def test_what_is_offered_can_be_applied_and_is_escaped(tmp_path):
    results.save(tmp_path, results.results_of(STATUS, "<b>mine</b>"))
    shown = results_html(found_for(tmp_path))
    ElementTree.fromstring(shown)
    assert "<b>mine" not in shown
    (values,) = re.findall(r'data-crdiff-apply="([^"]*)"', shown)
    applied = {
        "down": 0.31,
        "mid": 0.42,
        "up": 0.53,
        "k": 1.2,
        "criterion": "magnitude",
        "layers": "released",
        "threshold": "auto",
        "stages": "",
        "attention_scale": "off",
        "size_conditioning": "off",
    }
    assert json.loads(html.unescape(values)) == applied
    assert results_html([]) == ""


@pytest.mark.parametrize(
    "other",
    [
        {"criterion": "soft"}, {"layers": "attention"}, {"threshold": "layer"}, {"attention_scale": "auto 768x768"},
        {"size_conditioning": "native"},
    ],
    ids=str,
)  # fmt: skip
def test_scores_of_images_drawn_otherwise_are_another_search(monkeypatch, other):
    shared = SimpleNamespace(opts=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "modules", SimpleNamespace(shared=shared))
    monkeypatch.setitem(sys.modules, "modules.shared", shared)
    job = SimpleNamespace(height=96, width=64)
    usual, changed = (journals.identity(job, CHECKPOINT, {}, Settings(**named)) for named in ({}, other))
    assert changed == {**usual, **other}
    assert not set(other) & set(usual)  # so that journals of earlier versions are those of the usual settings


def test_a_journal_goes_on_with_its_own_calibration_only(monkeypatch, tmp_path):
    shared = SimpleNamespace(opts=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "modules", SimpleNamespace(shared=shared))
    monkeypatch.setitem(sys.modules, "modules.shared", shared)
    job, settings = SimpleNamespace(height=96, width=64), Settings(criterion="wanda")
    begun, other = (journals.identity(job, CHECKPOINT, {}, settings, made) for made in ("0123abcd", "89efcdab"))
    journal = Journal(tmp_path / "search.jsonl", begun)
    journal.open({})
    journal.append({"kind": "score"})
    assert len(Journal(journal.path, begun).open({})) == 1
    with pytest.raises(JournalError, match='calibration "0123abcd", and this search has "89efcdab"'):
        Journal(journal.path, other).open({})
    assert journals.journal_path(tmp_path, begun, {}) != journals.journal_path(tmp_path, other, {})


class Loaded:
    """A scorer that knows whether it has been freed."""

    def __init__(self):
        self.closed = threading.Event()

    def close(self):
        self.closed.set()


def test_a_cached_scorer_is_freed_in_time_or_when_another_is_wanted():
    first, second, third = Loaded(), Loaded(), Loaded()
    cache = ScorerCache(seconds=600)
    cache.put(first, "own")
    assert cache.take(second, "own") is first
    cache.put(first, "own")
    assert cache.take(second, "clip") is second
    assert first.closed.is_set() and not second.closed.is_set()
    cache.put(second, "clip")
    cache.put(third, "own")
    assert second.closed.is_set() and not third.closed.is_set()
    soon, late = ScorerCache(seconds=0.01), Loaded()
    soon.put(late, "own")
    assert late.closed.wait(60)
    assert soon.take(first, "own") is first


def test_a_question_is_answered_once_and_by_its_number():
    monitor = SearchMonitor()
    monitor.begin(SearchStatus("running"))
    assert not monitor.answer(1, "left")
    monitor.ask(Question(1, "data:left", "data:right", "a <house>"))
    assert not monitor.answer(2, "left")
    assert not monitor.answer(1, "both")
    assert monitor.answer_to(1) is None
    assert monitor.answer(1, "left")
    assert not monitor.answer(1, "right")
    assert monitor.answer_to(1) == "left"
    monitor.ask(Question(2, "data:left", "data:right", "a <house>"))
    assert monitor.answer_to(2) is None
    shown = panel_html(monitor.status, monitor.version)
    assert re.findall(r'data-crdiff-answer="([^"]*)"', shown) == ["2:left", "2:right", "2:same"]
    assert "a &lt;house&gt;" in shown


def test_a_question_does_not_tell_which_image_is_the_best_so_far():
    monitor = SearchMonitor(SearchStatus("running", report=STATUS.report))
    monitor.ask(Question(1, "data:left", "data:right", "a house"))
    assert "Best so far" not in panel_html(monitor.status, 1)


@pytest.fixture
def hub(monkeypatch):
    """A server that stands for the hub: one file, whose digest it states."""
    content = b"weights " * 500_000

    class Handler(BaseHTTPRequestHandler):
        slow = threading.Event()

        def log_message(self, *_):
            pass

        def do_GET(self):
            start = int((self.headers.get("Range") or "bytes=0-")[len("bytes=") : -1])
            self.send_response(206 if start else 200)
            self.send_header("X-Linked-Etag", f'"{hashlib.sha256(content).hexdigest()}"')
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            half = 2_500_000 if self.slow.is_set() else len(content)
            self.wfile.write(content[start:half])
            while self.slow.is_set() and not server.closing.wait(0.02):
                pass
            with suppress(ConnectionError):  # the client that stopped has gone
                self.wfile.write(content[half:])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.closing, server.slow, server.content = threading.Event(), Handler.slow, content
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()


SOURCE = Source("A model", "model", (RemoteFile("weights.pt", "someone/model", size=4_000_000),))


def test_a_download_shows_how_far_it_is_stops_and_goes_on(hub, tmp_path):
    downloads, files = Downloads(), ModelFiles(models=tmp_path)
    assert downloads.status.to_html() == '<div data-crdiff-download="none"></div>'
    hub.slow.set()
    downloads.start(SOURCE, files)
    assert downloads.start(SOURCE, files).state == "running"  # the one under way, not another one
    while downloads.status.share == 0.0:
        assert downloads.status.state == "running"
    assert "of 4.0 MB" in downloads.status.text
    assert "<progress" in downloads.status.to_html()
    downloads.stop()
    hub.slow.clear()
    downloads.wait(30)
    assert downloads.status.state in ("stopped", "done")
    first = downloads.status.state
    downloads.start(SOURCE, files)
    downloads.wait(30)
    assert (first, downloads.status.state) == ("stopped", "done")
    assert (tmp_path / "model" / "weights.pt").read_bytes() == hub.content
    assert downloads.stop().text == "Nothing is being downloaded."


def test_a_download_without_a_network_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    downloads = Downloads()
    downloads.start(SOURCE, ModelFiles(models=tmp_path))
    downloads.wait(30)
    assert downloads.status.state == "failed"
    assert f"without a network, put it into {tmp_path / 'model'} by hand" in downloads.status.text
