"""The tasks of the page: waiting, running, finished; and the progress route the page polls."""

from __future__ import annotations

import base64
import io
import random
import string
import time
from collections import OrderedDict
from typing import Any, Optional

from pydantic import BaseModel

import modules.shared as shared

current_task: str | None = None
pending_tasks: OrderedDict[str, float] = OrderedDict()
finished_tasks: list[str] = []


def start_task(id_task: str | None) -> None:
    global current_task
    current_task = id_task
    pending_tasks.pop(id_task, None)


def finish_task(id_task: str | None) -> None:
    global current_task
    if current_task == id_task:
        current_task = None
    finished_tasks.append(id_task)
    del finished_tasks[:-16]


def create_task_id(task_type: str) -> str:
    tail = "".join(random.choices(string.ascii_uppercase + string.digits, k=7))
    return f"task({task_type}-{tail})"


def add_task_to_queue(id_job: str) -> None:
    pending_tasks[id_job] = time.time()


class ProgressRequest(BaseModel):
    id_task: Optional[str] = None
    id_live_preview: int = -1
    live_preview: bool = True


class ProgressResponse(BaseModel):
    active: bool
    queued: bool
    completed: bool
    progress: Optional[float] = None
    eta: Optional[float] = None
    live_preview: Optional[str] = None
    id_live_preview: Optional[int] = None
    textinfo: Optional[str] = None


def setup_progress_api(app: Any) -> Any:
    return app.add_api_route("/internal/progress", progressapi, methods=["POST"], response_model=ProgressResponse)


def job_fraction() -> float:
    """Finished jobs plus the part of the running one, between 0 and 1."""
    state = shared.state
    done = 0.0
    if state.job_count > 0:
        done += state.job_no / state.job_count
        if state.sampling_steps > 0:
            done += state.sampling_step / state.sampling_steps / state.job_count
    return min(done, 1.0)


def progressapi(req: ProgressRequest) -> ProgressResponse:
    flags = {
        "active": req.id_task == current_task, "queued": req.id_task in pending_tasks,
        "completed": req.id_task in finished_tasks,
    }
    if not flags["active"]:
        text = "Waiting..."
        if flags["queued"]:
            order = sorted(pending_tasks, key=lambda x: pending_tasks[x])
            text = f"In queue: {order.index(req.id_task) + 1}/{len(order)}"
        return ProgressResponse(**flags, id_live_preview=-1, textinfo=text)

    done = job_fraction()
    elapsed = time.time() - shared.state.time_start
    eta = elapsed / done - elapsed if done > 0 else None
    preview, preview_id = None, req.id_live_preview
    if shared.opts.live_previews_enable and req.live_preview:
        shared.state.set_current_image()
        image = shared.state.current_image
        if shared.state.id_live_preview != req.id_live_preview and image is not None:
            kind = shared.opts.live_previews_image_format
            buffer = io.BytesIO()
            image.save(buffer, format=kind)
            preview = f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
            preview_id = shared.state.id_live_preview
    return ProgressResponse(**flags, progress=done, eta=eta, live_preview=preview, id_live_preview=preview_id,
                            textinfo=shared.state.textinfo)
