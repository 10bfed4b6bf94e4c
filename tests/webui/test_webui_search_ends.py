"""Searches by the host's API that end early, go on, or go on for long."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from search_requests import asked, done, waited


def with_a_full_disk(host: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The disk is full after some writes; with room again the same request goes on."""
    import crdiff.search.journal as journal

    whole, written = journal.os.fsync, []

    def full(handle: int) -> None:
        written.append(handle)
        if len(written) > 3:
            raise OSError(28, "No space left on device")
        whole(handle)

    journal.os.fsync = full
    try:
        failed = done(host, {"evaluations": 4, "seed": 3}, steps=1)
    finally:
        journal.os.fsync = whole
    return failed, done(host, {"evaluations": 4, "seed": 3}, steps=1)


@pytest.mark.one_host
def test_a_full_disk_ends_with_the_best_and_a_sentence(host: Any) -> None:
    failed, after = host.run(with_a_full_disk)
    assert failed["state"] == "failed"
    assert "the journal cannot be written (No space left on device)" in failed["message"]
    assert failed["best"] is not None
    assert (after["state"], after["evaluations"]) == ("done", 4)


def cut_and_resumed(host: Any, data: str) -> list[dict[str, Any]]:
    """The journal as a kill leaves it in the midst of an evaluation, at several places, each then resumed."""
    plan = {"evaluations": 4, "seed": 4, "seeds": [1, 2]}
    before = set(Path(data).glob("*.jsonl"))
    answers = [done(host, plan, steps=1, height=64)]
    journal = next(iter(set(Path(data).glob("*.jsonl")) - before))
    whole = journal.read_bytes()
    for share in (0.4, 0.8):
        journal.write_bytes(whole[: int(len(whole) * share)])
        answers.append(done(host, plan, steps=1, height=64))
    return answers


@pytest.mark.one_host
def test_a_search_killed_in_an_evaluation_goes_on_to_the_same_end(host: Any) -> None:
    whole, *resumed = host.run(cut_and_resumed, str(host.data / "crdiff" / "searches"))
    assert whole["state"] == "done"
    assert all(answer == whole for answer in resumed)


def switched(host: Any) -> dict[str, Any]:
    before = host.shared.opts.data.get("sd_model_checkpoint")
    name = asked(host, {"score": "own", "evaluations": 400, "seed": 8})
    waited(host, name, lambda answer: answer["evaluations"] >= 2)
    host.shared.opts.data["sd_model_checkpoint"] = "sd1-b"
    try:
        return waited(host, name)
    finally:
        host.shared.opts.data["sd_model_checkpoint"] = before


def test_a_switched_checkpoint_ends_with_the_best_and_a_sentence(host: Any) -> None:
    seen = host.run(switched)
    assert seen["state"] == "failed"
    assert "The checkpoint was switched during the search; the best so far is kept." in seen["message"]
    assert seen["best"]["score"] >= seen["dense"]["score"]
    whole = host.run(done, {"evaluations": len(seen["history"]), "seed": 8})
    # Every score in it is the first checkpoint's: resumed there, the search draws none of them again.
    assert whole["history"][: len(seen["history"])] == seen["history"]


def objects() -> dict[str, int]:
    """What is alive, by kind."""
    import torch
    from PIL import Image

    gc.collect()
    alive = Counter(map(type, gc.get_objects()))
    kinds = {"tensors": torch.Tensor, "pictures": Image.Image}
    found = {name: sum(n for one, n in alive.items() if issubclass(one, kind)) for name, kind in kinds.items()}
    jobs = sum(n for one, n in alive.items() if one.__name__ == "StableDiffusionProcessingTxt2Img")
    return {**found, "jobs": jobs, "modules": len(sys.modules)}


def counted(host: Any) -> list[dict[str, int]]:
    """What is alive after 4 evaluations, and after 6 more."""
    counts = []
    for evaluations in (4, 10):
        done(host, {"evaluations": evaluations, "seed": 9, "iterations": 120}, steps=1, height=64)
        counts.append(objects())
    return counts


def test_memory_stays_flat(host: Any) -> None:
    early, late = host.run(counted)
    assert late == early
