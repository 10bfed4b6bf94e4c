"""The journal: whatever a crash leaves behind, nothing paid for is lost, and nothing foreign is taken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from problems import Counted, hill, objective

from crdiff.search import journal as journal_module
from crdiff.search.errors import JournalError
from crdiff.search.journal import Journal, read
from crdiff.search.report import Evaluation
from crdiff.search.search import Budget, Search
from crdiff.search.strategies.annealing import Schedule, SimulatedAnnealing
from crdiff.search.strategies.point import DENSE, START
from crdiff.search.strategies.space import Space

ROOT = Path(__file__).resolve().parents[2]
IDENTITY = {"checkpoint": "31e35c80fc", "size": "400x560", "image": {"steps": 30, "cfg": 7.5}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "search" / "journal.jsonl"


def search(path, evaluate=hill, identity=IDENTITY, seed=0, iterations=20, **values):
    strategy = SimulatedAnnealing(Space(), [START, DENSE], seed, Schedule(iterations=iterations))
    return Search(Space(), strategy, objective(evaluate, **values), Journal(path, identity), baseline=DENSE)


def lines(data):
    return [json.loads(line) for line in data.splitlines()]


def scores(data):
    """How many images' scores are whole in a journal."""
    return sum(b'"kind":"score"' in line for line in data[: data.rfind(b"\n") + 1].splitlines())


def test_a_kill_at_any_byte_loses_nothing_and_changes_nothing(path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    values = {"iterations": 2, "prompts": ("a cat",), "seeds": (1,)}
    whole = search(path, **values).run()
    data = path.read_bytes()
    assert scores(data) == whole.images == 4
    settings = search(path, **values).settings()
    entries = lines(data)
    tried = set()
    for end in range(len(data), -1, -1):
        os.truncate(path, end)
        kept = data.count(b"\n", 0, end)
        assert Journal(path, IDENTITY).open(settings) == entries[1:kept]
        # What follows depends only on how many lines are whole, and on whether there is a torn one.
        kind = (kept, end > 0 and data[end - 1 : end] == b"\n")
        if kind in tried:
            continue
        tried.add(kind)
        copy = path.with_name(f"{end}.jsonl")
        copy.write_bytes(data[:end])
        scorer = Counted()
        report = search(copy, scorer, **values).run()
        assert report.history == whole.history
        assert len(scorer.asked) == whole.images - scores(data[:end])
        assert untimed(copy.read_bytes()) == untimed(data)
    assert len(tried) == 2 * len(entries)


def untimed(data):
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in data.splitlines()]


def test_a_resumed_search_is_the_uninterrupted_one(path, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    whole = search(tmp_path / "whole.jsonl").run()
    for evaluations in range(1, 21, 3):
        report = search(path).run(Budget(evaluations=evaluations))
        assert report.history == whole.history[: len(report.history)]
    scorer = Counted()
    report = search(path, scorer).run()
    assert report.history == whole.history
    assert (report.images, report.saved_by_racing) == (whole.images, whole.saved_by_racing)
    assert untimed(path.read_bytes()) == untimed((tmp_path / "whole.jsonl").read_bytes())
    scorer = Counted()
    assert search(path, scorer).run().history == whole.history
    assert scorer.asked == []


def test_every_line_is_on_disk_before_the_search_goes_on(path, monkeypatch):
    synced = []
    real = os.fsync

    def fsync(handle):
        real(handle)
        synced.append(path.stat().st_size)

    monkeypatch.setattr(os, "fsync", fsync)
    seen = []

    def evaluate(*asked):
        seen.append((path.stat().st_size if path.exists() else 0, synced[-1] if synced else 0))
        return hill(*asked)

    search(path, evaluate).run(Budget(evaluations=3))
    assert all(size == safe for size, safe in seen)
    assert len({size for size, _ in seen}) == len(seen)


def test_a_last_line_of_zeros_is_dropped(path):
    """A power cut can leave a file's new length without its content."""
    whole = search(path).run(Budget(evaluations=3))
    data = path.read_bytes()
    for tail in (b"\0" * 200, b"\0" * 200 + b"\n", b'{"kind":"score"\n', b"[1]\n", "{\u20ac".encode()[:2]):
        path.write_bytes(data + tail)
        assert search(path).run(Budget(evaluations=3)).history == whole.history
        report = search(path).run(Budget(evaluations=4))
        assert report.evaluations == 4
        assert all(isinstance(entry, dict) for entry in lines(path.read_bytes()))


def test_a_damaged_line_in_the_middle_is_refused(path):
    search(path).run(Budget(evaluations=3))
    data = path.read_bytes().splitlines(keepends=True)
    data[3] = data[3][:20] + b"\n"
    path.write_bytes(b"".join(data))
    with pytest.raises(JournalError, match=r"^journal\.jsonl: line 4 is damaged; .*\.$"):
        search(path).run()
    data[3] = b'{"kind":"score","picture":0}\n'
    path.write_bytes(b"".join(data))
    with pytest.raises(JournalError, match=r"cannot be used"):
        search(path).run()


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"identity": {**IDENTITY, "checkpoint": "6ce0161689"}}, 'checkpoint "31e35c80fc", .* has "6ce0161689"'),
        ({"identity": {**IDENTITY, "size": "512x512"}}, 'size "400x560", and this search has "512x512"'),
        ({"identity": {**IDENTITY, "image": {"steps": 20, "cfg": 7.5}}}, r"image\.steps 30, and this search has 20"),
        ({"identity": {"checkpoint": "31e35c80fc"}}, r'size "400x560", and this search has none'),
        ({"seed": 1}, r"strategy\.seed 0, and this search has 1"),
        ({"iterations": 30}, r"strategy\.schedule\.iterations 20"),
        ({"prompts": ("a cow",)}, r"objective\.prompts"),
        ({"racing": "off"}, r"objective\.racing"),
    ],
)
def test_the_journal_of_another_search_is_refused_in_words(path, other, sentence):
    search(path).run(Budget(evaluations=2))
    data = path.read_bytes()
    with pytest.raises(JournalError, match=rf"^journal\.jsonl: this journal was written with {sentence}"):
        search(path, **other).run()
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    "content", [b"a", b"{}\n", b"my notes\n", b"\n", b"\0\0\0", b'{"crdiff', b'{"crdiff_search":1,"a']
)
def test_no_other_file_is_taken_for_a_journal(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    if b'{"crdiff_search":'.startswith(content) or content.startswith(b'{"crdiff_search":'):
        assert search(path).run(Budget(evaluations=1)).evaluations == 1
        return
    with pytest.raises(JournalError, match=r"^journal\.jsonl: this is not the journal of a search; .*\.$"):
        search(path).run()
    assert path.read_bytes() == content


def test_what_a_journal_says_without_its_search(path):
    report = search(path).run(Budget(evaluations=5))
    header, evaluations = read(path)
    assert header["checkpoint"] == IDENTITY["checkpoint"]
    assert header["objective"]["prompts"] == ["a cat", "a dog", "a tree"]
    assert tuple(Evaluation.from_dict(entry) for entry in evaluations) == report.history
    with pytest.raises(JournalError, match=r"^none\.jsonl: there is no journal\.$"):
        read(path.with_name("none.jsonl"))


def test_a_folder_in_its_place(tmp_path):
    with pytest.raises(JournalError, match=r"cannot be read \(.*\)\.$"):
        search(tmp_path).run()


def test_a_full_disk_ends_the_search_and_loses_nothing(path, monkeypatch):
    whole = search(path.with_name("whole.jsonl")).run(Budget(evaluations=6))
    real_open = open
    full = [False]

    class Full:
        """A file on a disk with room for ten more bytes."""

        def __init__(self, stream):
            self.stream = stream

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.stream.close()

        def __getattr__(self, name):
            return getattr(self.stream, name)

        def write(self, data):
            self.stream.write(data[:10])
            self.stream.flush()
            raise OSError(28, "No space left on device")

    def limited(file, mode="r", *values):
        stream = real_open(file, mode, *values)
        return Full(stream) if full[0] else stream

    monkeypatch.setattr(journal_module, "open", limited, raising=False)
    scorer = Counted()
    one = search(path, scorer)
    one.run(Budget(evaluations=3))
    full[0] = True
    drawn = len(scorer.asked)
    report = one.run(Budget(evaluations=6))
    assert (report.state, report.evaluations) == ("failed", 3)
    assert report.message == "journal.jsonl: the journal cannot be written (No space left on device)."
    assert report.best is not None
    assert len(scorer.asked) == drawn + 1
    assert one.run(Budget(evaluations=6)).state == "failed"
    full[0] = False
    assert one.run(Budget(evaluations=6)).history == whole.history
    assert len(scorer.asked) == len(set(scorer.asked)) == whole.images
    assert untimed(path.read_bytes()) == untimed(path.with_name("whole.jsonl").read_bytes())


def test_two_searches_on_one_journal_do_not_write_over_each_other(path):
    one, other = search(path), search(path)

    def meddle(report):
        if report.evaluations == 2 and not meddled:
            meddled.append(other.run(Budget(evaluations=4)))

    meddled = []
    report = one.run(Budget(evaluations=6), on_progress=meddle)
    assert meddled[0].evaluations == 4
    assert (report.state, report.message) == (
        "failed",
        "journal.jsonl: another search writes to this journal; let one of them end.",
    )
    assert one.run(Budget(evaluations=6)).evaluations == 6


def test_failures_are_kept_but_those_that_ended_the_search(path):
    def evaluate(point, prompt, seed):
        if prompt == "a dog" or broken:
            raise RuntimeError("no scorer")
        return hill(point, prompt, seed)

    broken = []
    search(path, evaluate).run(Budget(evaluations=2))
    broken.append(True)
    assert search(path, evaluate).run(Budget(evaluations=9)).state == "failed"
    assert lines(path.read_bytes())[-1] == {"kind": "retry", "pictures": 15, "evaluations": 3}
    broken.clear()
    assert len(read(path)[1]) == 3
    resumed = search(path, evaluate).run(Budget(evaluations=4))
    assert resumed.history == search(path.with_name("whole.jsonl"), evaluate).run(Budget(evaluations=4)).history
    assert next(entry["error"] for entry in lines(path.read_bytes()) if "error" in entry) == "no scorer"


WORKER = """
import sys, time
sys.path[:0] = [{root!r}, {here!r}]
from pathlib import Path
from test_search_journal import search
from problems import hill

def slow(*asked):
    time.sleep(0.005)
    return hill(*asked)

search(Path({path!r}), slow).run()
"""


def test_a_killed_process_loses_at_most_the_image_it_was_drawing(path, tmp_path):
    code = WORKER.format(root=str(ROOT), here=str(ROOT / "tests" / "search"), path=str(path))
    kills = 0
    for images in (5, 30):
        worker = subprocess.Popen([sys.executable, "-c", code])
        deadline = time.monotonic() + 300
        while worker.poll() is None and time.monotonic() < deadline:
            if path.exists() and scores(path.read_bytes()) >= images:
                worker.kill()
                break
            time.sleep(0.002)
        kills += worker.wait(300) == -signal.SIGKILL if hasattr(signal, "SIGKILL") else 1
    assert kills == 2
    kept = scores(path.read_bytes())
    scorer = Counted()
    report = search(path, scorer).run()
    whole = search(tmp_path / "whole.jsonl").run()
    assert report.history == whole.history
    assert len(scorer.asked) == whole.images - kept
