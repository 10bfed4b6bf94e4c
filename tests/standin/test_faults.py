"""What the hosts do when something goes wrong, and when they are told to stop."""

from __future__ import annotations

from typing import Any

import inside
import pytest
from inside import draw, draw_with, hooks


def fail(p: Any, rest: Any) -> None:
    raise ValueError("a fault of the probe")


@pytest.mark.parametrize("hook", ["setup", "before_process", "process", "process_batch", "cfg_denoiser",
                                  "process_before_every_sampling", "postprocess"])
def test_a_failing_hook_is_passed_over(either: Any, hook: str) -> None:
    usual = either.run(draw, steps=2)
    seen = either.run(draw_with, {hook: fail}, steps=2)
    assert seen["digests"] == usual["digests"]
    assert hooks(seen["events"]) == hooks(usual["events"])


def break_unet_once(host: Any) -> dict[str, Any]:
    closed = []

    def broken(module: Any, args: Any) -> None:
        handle.remove()
        raise ValueError("out of something")

    from modules import processing

    close = processing.StableDiffusionProcessingTxt2Img.close
    processing.StableDiffusionProcessingTxt2Img.close = lambda self: (closed.append(1), close(self))
    usual = draw(host)
    closed.clear()
    handle = inside.unet(host).register_forward_pre_hook(broken)
    inside.probe().clear()
    try:
        host.txt2img()
    except RuntimeError as e:
        answer = (e.status_code, e.body)
    finally:
        processing.StableDiffusionProcessingTxt2Img.close = close
    return {"answer": answer, "closed": len(closed), "events": hooks(inside.probe().events), "usual": usual["digests"],
            "after": draw(host)["digests"]}


def test_an_exception_in_the_unet_ends_the_job(either: Any) -> None:
    seen = either.run(break_unet_once)
    status, body = seen["answer"]
    assert status == 500
    key = "errors" if either.flavour == "a1111" else "message"
    assert body == {"error": "ValueError", "detail": "", "body": "", key: "out of something"}
    assert seen["events"][-1] == "cfg_denoiser"
    assert seen["closed"] == 1
    assert seen["after"] == seen["usual"]


def status_of_an_exception(host: Any) -> Any:
    def broken(module: Any, args: Any) -> None:
        handle.remove()
        error = ValueError("a setting")
        error.status_code, error.detail = 422, "say it so"
        raise error

    handle = inside.unet(host).register_forward_pre_hook(broken)
    try:
        host.txt2img()
    except RuntimeError as e:
        return e.status_code, e.body["detail"]


def test_an_exception_may_choose_its_status(a1111: Any) -> None:
    assert a1111.run(status_of_an_exception) == (422, "say it so")


def stop_at_second(host: Any, how: str, **fields: Any) -> dict[str, Any]:
    calls = []

    def stop(params: Any, rest: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            getattr(host.shared.state, how)()

    return draw_with(host, {"cfg_denoiser": stop}, **fields)


def test_interrupt_gives_the_last_latent(either: Any) -> None:
    usual = either.run(draw, n_iter=2)
    seen = either.run(stop_at_second, "interrupt", n_iter=2)
    names = hooks(seen["events"])
    assert names.count("cfg_denoiser") == 2
    assert names[-1] == "postprocess" and "post_sample" in names
    assert len(seen["digests"]) == 1 and seen["digests"][0] not in usual["digests"]
    assert either.run(draw, n_iter=2)["digests"] == usual["digests"]


def test_skip_goes_on_with_the_next_batch(either: Any) -> None:
    usual = either.run(draw, n_iter=2)
    seen = either.run(stop_at_second, "skip", n_iter=2)
    assert hooks(seen["events"]).count("cfg_denoiser") == 2 + 4
    assert seen["digests"][1] == usual["digests"][1]


def interruption_passes_callbacks(host: Any) -> list[str]:
    from modules.sd_samplers_common import InterruptedException

    assert not issubclass(InterruptedException, Exception)

    def interrupt(params: Any, rest: Any) -> None:
        raise InterruptedException

    return hooks(draw_with(host, {"cfg_denoiser": interrupt})["events"])


def test_interruption_is_no_exception(either: Any) -> None:
    assert either.run(interruption_passes_callbacks).count("cfg_denoiser") == 1


def main_thread_works(host: Any) -> dict[str, Any]:
    from modules_forge import main_thread

    def broken() -> None:
        raise ValueError("in the main thread")

    import threading

    first = main_thread.run_and_wait_result(lambda: threading.current_thread().name)
    second = main_thread.run_and_wait_result(broken)
    kept = str(main_thread.last_exception)
    third = main_thread.run_and_wait_result(lambda: 3)
    cleared = main_thread.last_exception is None
    return {"name": first, "result": second, "kept": kept, "after": third, "cleared": cleared}


def test_forge_runs_page_jobs_in_one_thread(forge: Any) -> None:
    seen = forge.run(main_thread_works)
    assert seen == {"name": "standin-main-thread", "result": None, "kept": "in the main thread", "after": 3,
                    "cleared": True}


def lock_order(host: Any) -> list[int]:
    import threading
    import time

    from modules.call_queue import queue_lock

    taken: list[int] = []

    def take(number: int) -> None:
        with queue_lock:
            taken.append(number)

    queue_lock.acquire()
    assert queue_lock.acquire(blocking=False) is False
    threads = [threading.Thread(target=take, args=(i,)) for i in range(5)]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    queue_lock.release()
    for thread in threads:
        thread.join()
    return taken


def test_the_queue_is_first_come_first_served(either: Any) -> None:
    assert either.run(lock_order) == [0, 1, 2, 3, 4]
