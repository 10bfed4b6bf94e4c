"""Your own eye as the score of a search, in both flavours of the stand-in host."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from typing import Any

import numpy
import pytest
from PIL import Image


def darkness(url: str) -> float:
    image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    return 255.0 - float(numpy.asarray(image.convert("L")).mean())


def looked_at(host: Any, evaluations: int, *, stop_at: int = 0) -> dict[str, Any]:
    """A search of somebody who always picks the darker image, and stops at a question if told to."""
    from modules import script_loading

    loaded = script_loading.loaded_scripts
    monitor = next(m for path, m in loaded.items() if path.endswith("cr_diff.py")).search.monitor
    monitor.status = type(monitor.status)()
    asked: list[tuple[float, float]] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            question = monitor.status.question
            if question is not None and monitor.answer_to(question.number) is None:
                if stop_at and question.number == stop_at:
                    host.shared.state.interrupt()
                    return
                left, right = darkness(question.left), darkness(question.right)
                asked.append((left, right))
                monitor.answer(question.number, "same" if left == right else "left" if left > right else "right")
            time.sleep(0.01)

    viewer = threading.Thread(target=look)
    viewer.start()
    request = {"prompt": "a mill", "seed": 5, "steps": 2, "width": 64, "height": 96}
    plan = {"score": "eye", "evaluations": evaluations}
    try:
        result = host.txt2img(request, script_name="CR-Diff search", script_args=[json.dumps(plan)])
    finally:
        over.set()
        viewer.join()
    report = monitor.status.report
    return {"summary": result.info["extra_generation_params"]["CR-Diff search"], "asked": len(asked),
            "question": monitor.status.question, "history": [entry.score for entry in report.history]}  # fmt: skip


@pytest.mark.one_host
def test_the_picks_lead_the_search_and_are_kept(host: Any) -> None:
    stopped = host.run(looked_at, 6, stop_at=3)
    assert stopped["summary"]["state"] == "stopped"
    assert stopped["question"] is None
    assert stopped["summary"]["evaluations"] == 3  # the dense model and the two that were answered
    # Going on asks only for the rest, and every score is one step from the best before it.
    seen = host.run(looked_at, 6)
    assert seen["summary"]["state"] == "done"
    assert seen["asked"] == 3
    assert seen["history"][: len(stopped["history"])] == stopped["history"]
    best = seen["history"][0]
    assert best == 0.0
    for score in seen["history"][1:]:
        assert score - best in (-1.0, 0.0, 1.0)
        best = max(best, score)
    assert seen["summary"]["best"]["score"] == best
    if best > 0.0:  # what is shown at the end are images with the k that was judged
        assert seen["summary"]["best"]["k"] == 1.5
    again = host.run(looked_at, 6)
    assert again["asked"] == 0
    assert again["history"] == seen["history"]
