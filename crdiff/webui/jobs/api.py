"""The routes of one kind of job in the host's API.

A job is a txt2img call of the host's own API with the job as its script. So it is there only if the host's API is, asks
for the same password, waits in the same queue, and knows every field the host knows.
"""

from __future__ import annotations

import inspect
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from crdiff.checks import shown
from crdiff.errors import CRDiffError, SettingsError
from crdiff.settings import Settings
from crdiff.webui.api import guards, hosts_route
from crdiff.webui.jobs.api_jobs import ApiJob, ApiJobs, sentence
from crdiff.webui.jobs.monitor import JobMonitor

WAITING = "Waiting in the host's queue."
_OWN_SCRIPT = "cr-diff"


class JobApi(ABC):
    """The routes' functions.

    Args:
        txt2img: the host's own function, a method of its API object.

    Attributes:
        path: of the routes.
        kind: what the job is called, and the key of the request that asks for it.
        title: of the host's script that runs it.
        keys: of the object that asks for it.
        unavailable: what is answered where the host's API is switched off.
        forgotten: what the answer to an unknown id adds.
    """

    path: str
    kind: str
    title: str
    keys: tuple[str, ...]
    unavailable: str
    forgotten: str

    def __init__(self, txt2img: Any) -> None:
        self._txt2img = txt2img
        self._jobs = ApiJobs()
        argument = next(iter(inspect.signature(txt2img).parameters))
        self._request = typing.get_type_hints(txt2img)[argument]

    @abstractmethod
    def read(self, asked: Any) -> Any:
        """The job's request, from what a client asks for; refused now if it is known that it cannot be run."""

    @abstractmethod
    def monitor(self, request: Any) -> JobMonitor[Any]:
        """The monitor of a job that waits."""

    @abstractmethod
    def answer(self, status: Any) -> dict[str, Any]:
        """What clients are told of a job, as plain JSON."""

    async def start(self, request: Request) -> dict[str, str]:
        """Start a job; answers with its id."""
        try:
            body = await request.json()
        except ValueError as error:
            raise HTTPException(422, f"The request's body is not JSON ({error}).") from None
        return await run_in_threadpool(self._start, body)

    def show(self, name: str) -> dict[str, Any]:
        """Where a job stands."""
        return self.answer(self._job(name).monitor.status)

    def stop(self, name: str) -> dict[str, Any]:
        """Stop a job; one that has ended stays as it is."""
        job = self._job(name)
        self._jobs.stop(job)
        return self.answer(job.monitor.status)

    def _job(self, name: str) -> ApiJob:
        job = self._jobs.get(name)
        if job is None:
            text = f"There is no {self.kind} {shown(name)}; ids are forgotten when the WebUI restarts, {self.forgotten}"
            raise HTTPException(404, text)
        return job

    def _start(self, body: Any) -> dict[str, str]:
        try:
            if not isinstance(body, Mapping):
                raise SettingsError(
                    f'A {self.kind} needs a txt2img request as a JSON object, with the key "{self.kind}" in it.'
                )
            asked = body.get(self.kind)
            wanted = self.read({} if asked is None else asked)
            job = ApiJob(self.kind, wanted, self.monitor(wanted))
            request = self._host_request(body, job)
            self._jobs.start(job, lambda: self._txt2img(request))
        except HTTPException:
            raise
        except Exception as error:
            known = isinstance(error, CRDiffError)
            raise HTTPException(422 if known else getattr(error, "status_code", 500), sentence(error)) from error
        return {"id": job.name}

    def _host_request(self, body: Mapping[str, Any], job: ApiJob) -> Any:
        """The host's own request with the job as its script; nothing is sent back and nothing saved."""
        known = getattr(self._request, "model_fields", None) or self._request.__fields__
        for key in body:
            if key in self.keys and key not in known:
                raise SettingsError(f'{key} belongs in the object "{self.kind}" of the request.')
        if body.get("script_name"):
            raise SettingsError(
                f"A {self.kind} is a script itself and runs no other, such as {shown(body['script_name'])}."
            )
        _check_own_settings(body.get("alwayson_scripts"))
        values = {key: value for key, value in body.items() if key != self.kind}
        values |= {"script_name": self.title, "script_args": [job], "force_task_id": job.task}
        values |= {"send_images": False, "save_images": False}
        try:
            return self._request(**values)
        except ValueError as error:  # pydantic's, of either version
            faults = error.errors() if hasattr(error, "errors") else []
            if not faults:
                raise
            place = ".".join(map(str, faults[0]["loc"]))
            raise SettingsError(f"{place} of the request cannot be used: {faults[0]['msg']}.") from None


def add_job_routes(app: Any, api: type[JobApi], make: Callable[[Any], JobApi]) -> None:
    """Register the routes of a kind of job with the host's FastAPI app, after its own.

    Args:
        app: the host's.
        api: the kind.
        make: makes the routes' functions from the host's own txt2img function.
    """
    route = hosts_route(app)
    if route is None:
        _add_refusals(app, api)
        return
    functions, guarded = make(route.endpoint), guards(route)
    app.add_api_route(api.path, functions.start, methods=["POST"], **guarded)
    app.add_api_route(api.path + "/{name}", functions.show, methods=["GET"], **guarded)
    app.add_api_route(api.path + "/{name}", functions.stop, methods=["DELETE"], **guarded)


def _add_refusals(app: Any, api: type[JobApi]) -> None:
    def refuse() -> None:
        raise HTTPException(404, api.unavailable)

    app.add_api_route(api.path, refuse, methods=["POST"])
    app.add_api_route(api.path + "/{name}", refuse, methods=["GET", "DELETE"])


def _check_own_settings(scripts: Any) -> None:
    """Refuse settings of the accordion now that the job would refuse later."""
    for name, given in (scripts if isinstance(scripts, Mapping) else {}).items():
        values = given.get("args") if isinstance(given, Mapping) else None
        if str(name).lower() == _OWN_SCRIPT and isinstance(values, list) and values and isinstance(values[0], Mapping):
            Settings.from_args(values)
