"""The search in the host's API: ``/crdiff/v1/search``, and what a client needs to know before it asks for one."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from fastapi import HTTPException

from crdiff.checks import shown
from crdiff.errors import SettingsError
from crdiff.webui.api import guards, hosts_route
from crdiff.webui.jobs.api import WAITING, JobApi, add_job_routes
from crdiff.webui.search.context import SearchContext
from crdiff.webui.search.judge import choose_scorer, score_problems
from crdiff.webui.search.monitor import SearchMonitor, SearchStatus
from crdiff.webui.search.request import EYE, SCRIPT_TITLE, SearchRequest


def add_search_routes(app: Any, context: SearchContext) -> None:
    """Register the routes with the host's FastAPI app, after its own."""
    add_job_routes(app, SearchApi, lambda txt2img: SearchApi(txt2img, context))
    route = hosts_route(app)
    if route is None:
        return
    facts, guarded = SearchFacts(context), guards(route)
    app.add_api_route("/crdiff/v1/scores", facts.scores, methods=["GET"], **guarded)
    app.add_api_route("/crdiff/v1/checkpoint", facts.checkpoint, methods=["GET"], **guarded)


class SearchApi(JobApi):
    """Searches; see JobApi.

    Args:
        txt2img: the host's own function, a method of its API object.
        context: the surroundings of a search.
    """

    path = "/crdiff/v1/search"
    kind = "search"
    title = SCRIPT_TITLE
    keys = tuple(field.name for field in fields(SearchRequest))
    unavailable = "The WebUI's API is switched off; start the WebUI with --api to search through it."
    forgotten = "but the same request continues with the scores that are on disk."

    def __init__(self, txt2img: Any, context: SearchContext) -> None:
        super().__init__(txt2img)
        self._context = context

    def read(self, asked: Any) -> SearchRequest:
        request = SearchRequest.from_dict(asked)
        if request.score == EYE:
            raise SettingsError("Your own eye can only be asked by the page, not by the API.")
        choose_scorer(request.score, self._context.folder)
        if request.journal and not (self._context.journals / request.journal).is_file():
            raise SettingsError(f"There is no journal {shown(request.journal)} to go on with.")
        return request

    def monitor(self, request: SearchRequest) -> SearchMonitor:
        return SearchMonitor(SearchStatus("running", WAITING, evaluations=request.evaluations))

    def answer(self, status: SearchStatus) -> dict[str, Any]:
        return status_to_dict(status)


class SearchFacts:
    """What a client needs to know before it asks for a search."""

    def __init__(self, context: SearchContext) -> None:
        self._context = context

    def scores(self) -> list[dict[str, str | None]]:
        """The scores' names, each with null or a sentence on why it cannot be used here."""
        return [{"name": name, "problem": problem} for name, problem in score_problems(self._context.folder).items()]

    def checkpoint(self, name: str | None = None) -> dict[str, str | None]:
        """The selected checkpoint, or the one of a name, with its hash."""
        from modules import sd_models

        if name and sd_models.get_closet_checkpoint_match(name) is None:
            raise HTTPException(404, f"There is no checkpoint {shown(name)} in this WebUI.")
        found = self._context.checkpoints.hashed(name)
        if found is None:
            raise HTTPException(404, "There is no checkpoint in this WebUI.")
        family = None if found.family is None else found.family.value
        return {"name": found.name, "sha256": found.sha256, "family": family, "problem": found.problem}


def status_to_dict(status: SearchStatus) -> dict[str, Any]:
    """What clients are told of a search, as plain JSON."""
    report = status.report
    dense = next((entry for entry in report.history if entry.point.is_dense), None) if report else None
    best = report.best if report else None
    running = status.state == "running" and not status.message
    return {
        "state": status.state,
        "message": status.text if running else status.message,
        "seeds": list(status.seeds),
        "evaluations": report.evaluations if report else 0,
        "dense": None if dense is None else {"score": dense.score},
        "best": None if best is None else {"score": best.score, **best.point.rounded.to_dict()},
        "gain": None if status.gain is None else asdict(status.gain),
        "history": [
            {
                "number": entry.number,
                "score": entry.score,
                **entry.point.rounded.to_dict(),
                "kind": entry.kind,
                "accepted": entry.accepted,
                "repeat": entry.repeat,
                "scores": list(entry.scores),
            }
            for entry in (report.history if report else ())
        ],
    }
