"""The search in the host's API: ``/crdiff/v1/search``, and what a client needs to know before it asks for one.

A search is a txt2img call of the host's own API with the search as its script. So it is there only if the host's API
is, asks for the same password, waits in the same queue, and knows every field the host knows.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from crdiff.errors import CRDiffError, SettingsError
from crdiff.settings import Settings
from crdiff.webui.api import guards, hosts_route
from crdiff.webui.search.api_jobs import ApiJob, ApiJobs, sentence
from crdiff.webui.search.context import SearchContext
from crdiff.webui.search.judge import choose_scorer, score_problems
from crdiff.webui.search.monitor import SearchStatus
from crdiff.webui.search.request import EYE, SCRIPT_TITLE, SearchRequest

_SEARCH = "/crdiff/v1/search"
_UNAVAILABLE = "The WebUI's API is switched off; start the WebUI with --api to search through it."
_KEYS = tuple(field.name for field in fields(SearchRequest))
_OWN_SCRIPT = "cr-diff"


def add_search_routes(app: Any, context: SearchContext) -> None:
    """Register the routes with the host's FastAPI app, after its own."""
    route = hosts_route(app)
    if route is None:
        _add_refusals(app)
        return
    api = SearchApi(route.endpoint, context)
    guarded = guards(route)
    app.add_api_route(_SEARCH, api.start, methods=["POST"], **guarded)
    app.add_api_route(_SEARCH + "/{name}", api.show, methods=["GET"], **guarded)
    app.add_api_route(_SEARCH + "/{name}", api.stop, methods=["DELETE"], **guarded)
    app.add_api_route("/crdiff/v1/scores", api.scores, methods=["GET"], **guarded)
    app.add_api_route("/crdiff/v1/checkpoint", api.checkpoint, methods=["GET"], **guarded)


def _add_refusals(app: Any) -> None:
    def refuse() -> None:
        raise HTTPException(404, _UNAVAILABLE)

    app.add_api_route(_SEARCH, refuse, methods=["POST"])
    app.add_api_route(_SEARCH + "/{name}", refuse, methods=["GET", "DELETE"])


class SearchApi:
    """The routes' functions.

    Args:
        txt2img: the host's own function, a method of its API object.
        context: the surroundings of a search.
    """

    def __init__(self, txt2img: Any, context: SearchContext) -> None:
        self._txt2img = txt2img
        self._context = context
        self._jobs = ApiJobs()
        argument = next(iter(inspect.signature(txt2img).parameters))
        self._request = typing.get_type_hints(txt2img)[argument]

    async def start(self, request: Request) -> dict[str, str]:
        """Start a search; answers with its id."""
        try:
            body = await request.json()
        except ValueError as error:
            raise HTTPException(422, f"The request's body is not JSON ({error}).") from None
        return await run_in_threadpool(self._start, body)

    def show(self, name: str) -> dict[str, Any]:
        """Where a search stands."""
        return status_to_dict(self._job(name).monitor.status)

    def stop(self, name: str) -> dict[str, Any]:
        """Stop a search and keep its best; one that has ended stays as it is."""
        job = self._job(name)
        self._jobs.stop(job)
        return status_to_dict(job.monitor.status)

    def scores(self) -> list[dict[str, str | None]]:
        """The scores' names, each with null or a sentence on why it cannot be used here."""
        return [{"name": name, "problem": problem} for name, problem in score_problems(self._context.folder).items()]

    def checkpoint(self, name: str | None = None) -> dict[str, str | None]:
        """The selected checkpoint, or the one of a name, with its hash."""
        from modules import sd_models

        if name and sd_models.get_closet_checkpoint_match(name) is None:
            raise HTTPException(404, f"There is no checkpoint {name!r} in this WebUI.")
        found = self._context.checkpoints.hashed(name)
        if found is None:
            raise HTTPException(404, "There is no checkpoint in this WebUI.")
        family = None if found.family is None else found.family.value
        return {"name": found.name, "sha256": found.sha256, "family": family, "problem": found.problem}

    def _job(self, name: str) -> ApiJob:
        job = self._jobs.get(name)
        if job is None:
            raise HTTPException(
                404,
                f"There is no search {name!r}; ids are forgotten when the WebUI restarts, "
                "but the same request continues with the scores that are on disk.",
            )
        return job

    def _start(self, body: Any) -> dict[str, str]:
        try:
            job = ApiJob(self._search_request(body))
            request = self._host_request(body, job)
            self._jobs.start(job, lambda: self._txt2img(request))
        except HTTPException:
            raise
        except Exception as error:
            known = isinstance(error, CRDiffError)
            raise HTTPException(422 if known else getattr(error, "status_code", 500), sentence(error)) from error
        return {"id": job.name}

    def _search_request(self, body: Any) -> SearchRequest:
        if not isinstance(body, Mapping):
            raise SettingsError('A search needs a txt2img request as a JSON object, with the key "search" in it.')
        asked = body.get("search")
        request = SearchRequest.from_dict({} if asked is None else asked)
        if request.score == EYE:
            raise SettingsError("Your own eye can only be asked by the page, not by the API.")
        choose_scorer(request.score, self._context.folder)
        return request

    def _host_request(self, body: Mapping[str, Any], job: ApiJob) -> Any:
        """The host's own request with the search as its script; nothing is sent back and nothing saved."""
        known = getattr(self._request, "model_fields", None) or self._request.__fields__
        for key in body:
            if key in _KEYS and key not in known:
                raise SettingsError(f'{key} belongs in the object "search" of the request.')
        if body.get("script_name"):
            raise SettingsError(f"A search is a script itself and runs no other, such as {body['script_name']!r}.")
        _check_own_settings(body.get("alwayson_scripts"))
        values = {key: value for key, value in body.items() if key != "search"}
        values |= {"script_name": SCRIPT_TITLE, "script_args": [job], "force_task_id": job.task}
        values |= {"send_images": False, "save_images": False}
        try:
            return self._request(**values)
        except ValueError as error:  # pydantic's, of either version
            faults = error.errors() if hasattr(error, "errors") else []
            if not faults:
                raise
            place = ".".join(map(str, faults[0]["loc"]))
            raise SettingsError(f"{place} of the request cannot be used: {faults[0]['msg']}.") from None


def _check_own_settings(scripts: Any) -> None:
    """Refuse settings of the accordion now that the job would refuse later."""
    for name, given in (scripts if isinstance(scripts, Mapping) else {}).items():
        values = given.get("args") if isinstance(given, Mapping) else None
        if str(name).lower() == _OWN_SCRIPT and isinstance(values, list) and values and isinstance(values[0], Mapping):
            Settings.from_args(values)


def status_to_dict(status: SearchStatus) -> dict[str, Any]:
    """What clients are told of a search, as plain JSON."""
    report = status.report
    dense = next((entry for entry in report.history if not any(entry.point.ratios)), None) if report else None
    best = report.best if report else None
    running = status.state == "running" and not status.message
    return {
        "state": status.state,
        "message": status.text if running else status.message,
        "evaluations": report.evaluations if report else 0,
        "dense": None if dense is None else {"score": dense.score},
        "best": None if best is None else {"score": best.score, **best.point.to_dict()},
        "history": [
            {
                "number": entry.number,
                "score": entry.score,
                **entry.point.to_dict(),
                "kind": entry.kind,
                "accepted": entry.accepted,
                "repeat": entry.repeat,
                "scores": list(entry.scores),
            }
            for entry in (report.history if report else ())
        ],
    }
