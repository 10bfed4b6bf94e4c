"""What jobs that draw many images of their own owe to the host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def undisturbed_host() -> Iterator[None]:
    """No image of the job replaces the infotext that the host remembers of the user's last image."""
    from modules import shared

    before = getattr(shared.cmd_opts, "no_prompt_history", None)
    try:
        if before is not None:
            shared.cmd_opts.no_prompt_history = True
        yield
    finally:
        if before is not None:
            shared.cmd_opts.no_prompt_history = before
        shared.state.textinfo = None


def has_jobs() -> bool:
    """Whether the host works on a job, or has one waiting."""
    from modules import progress

    return progress.current_task is not None or bool(progress.pending_tasks)


def finished(p: Any, text: str, images: Sequence[Any] = (), infotexts: Sequence[str] = ()) -> Any:
    """The host's result of a job.

    Args:
        p: a processing object with the prompt and seed of the images, written to.
        text: told to the user.
        images: to show.
        infotexts: of each.
    """
    from modules import processing

    count = max(len(images), 1)
    p.n_iter = p.batch_size = 1
    p.all_prompts, p.all_seeds, p.all_subseeds = [p.prompt] * count, [p.seed] * count, [p.subseed] * count
    p.all_negative_prompts = [str(p.negative_prompt)] * count
    texts = list(infotexts) or [""]
    result = processing.Processed(
        p, list(images), p.seed, texts[0], subseed=p.subseed, infotexts=texts, index_of_first_image=0
    )
    result.comments = text
    return result
