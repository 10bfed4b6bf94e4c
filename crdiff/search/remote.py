"""A running WebUI as seen from another program: its API, and configurations measured by it.

Only Python's standard library is needed.
"""

from __future__ import annotations

import base64
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from crdiff.errors import CRDiffError, SettingsError
from crdiff.models.architecture import family_named
from crdiff.models.checkpoint import Checkpoint
from crdiff.models.family import OTHER
from crdiff.search.errors import STOPPED, AbortSearchError, EvaluationError
from crdiff.search.objective import Image
from crdiff.search.strategies.point import Point
from crdiff.search.strategies.points_to_evaluate import PointsToEvaluate

_TIMEOUT_S = 120.0
_LOCAL = ("127.0.0.1", "localhost", "::1")
_POLLS_S = (0.05, 1.0)
_POLLS_GROW = 1.2
_RETRY_S = 2.0


class RemoteError(CRDiffError):
    """The WebUI refuses a request; the sentence says why."""


class UnreachableError(RemoteError):
    """There is no WebUI at the address, or it has gone away."""


class WebUI:
    """The API of a running WebUI.

    Args:
        url: such as ``http://127.0.0.1:7860``.
        auth: ``user:password`` of the WebUI's ``--api-auth``.
        timeout_s: longest silence before a request is given up.

    Raises:
        SettingsError: the URL or ``auth`` cannot be used.
    """

    def __init__(self, url: str, auth: str | None = None, timeout_s: float = _TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"The address of a WebUI looks like http://127.0.0.1:7860, not {url!r}.")
        if auth is not None and ":" not in auth:
            raise SettingsError("A user and password are written USER:PASSWORD.")
        self.url = urllib.parse.urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
        self._headers = {"Content-Type": "application/json"}
        if auth is not None:
            self._headers["Authorization"] = "Basic " + base64.b64encode(auth.encode()).decode("ascii")
        # A proxy knows nothing of this machine's own addresses.
        direct = [urllib.request.ProxyHandler({})] if parts.hostname in _LOCAL else []
        self._opener = urllib.request.build_opener(*direct)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON answer of a route.

        Raises:
            UnreachableError: nothing answers.
            RemoteError: the WebUI refuses.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, self._headers, method=method)
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            raise RemoteError(self._refusal(error)) from None
        except (OSError, http.client.HTTPException) as error:  # also time-outs and connections that break
            reason = getattr(error, "reason", None) or error
            raise UnreachableError(f"The WebUI at {self.url} cannot be reached ({reason}).") from None
        except ValueError as error:
            raise RemoteError(f"The WebUI at {self.url} cannot be asked ({error}).") from None
        try:
            return json.loads(content)
        except ValueError:
            raise RemoteError(f"{self.url} does not answer as the API of a WebUI does.") from None

    def _refusal(self, error: urllib.error.HTTPError) -> str:
        if error.code in (401, 403):
            return f"The WebUI at {self.url} asks for another user and password; give them with --auth USER:PASSWORD."
        try:
            detail = json.loads(error.read()).get("detail")
        except (ValueError, AttributeError, OSError):
            detail = None
        if error.code in (404, 405) and detail in (None, "Not Found", "Method Not Allowed"):
            return f"The WebUI at {self.url} cannot do this; it needs this extension and the flag --api."
        if isinstance(detail, str) and detail:
            return detail
        return f"The WebUI at {self.url} answered with status {error.code}."


def ask_checkpoint(webui: WebUI, name: str | None = None) -> Checkpoint:
    """The selected checkpoint, or the one of a name; its family and hash are known.

    Raises:
        RemoteError: there is none, or CR-Diff cannot handle it.
    """
    query = "" if name is None else "?" + urllib.parse.urlencode({"name": name})
    found = webui.call("GET", "/crdiff/v1/checkpoint" + query)
    if found["family"] is None:
        reason = found["problem"] or "its family is not known before it is loaded."
        raise RemoteError(f"The checkpoint {found['name']} cannot be searched for: {reason}")
    if found["sha256"] is None:
        raise RemoteError(f"The WebUI could not compute the hash of the checkpoint {found['name']}.")
    return Checkpoint(found["name"], family_named(found["family"]) or OTHER, found["sha256"])


def choose_score(webui: WebUI, name: str | None) -> str:
    """The name, or the first score that the WebUI can use.

    Raises:
        RemoteError: it can use none.
    """
    if name is not None:
        return name
    offers = [offer for offer in webui.call("GET", "/crdiff/v1/scores") if offer["name"] != "ssim"]
    found = next((offer["name"] for offer in offers if offer["problem"] is None), None)
    if found is None:
        raise RemoteError(f"No score can be used in this WebUI yet. {offers[0]['problem'] if offers else ''}".strip())
    return str(found)


def check_sampler(webui: WebUI, name: str | None) -> None:
    """Refuse a sampler that the WebUI does not have, before anything waits in its queue.

    Hosts take a scheduler behind the name as well, as in "DPM++ 2M Karras".

    Raises:
        RemoteError: it has none of this name.
    """
    if name is None:
        return
    offered = webui.call("GET", "/sdapi/v1/samplers")
    known = [str(one) for offer in offered for one in (offer["name"], *offer.get("aliases", ()))]
    if not any(f"{name} ".lower().startswith(f"{one} ".lower()) for one in known):
        names = ", ".join(str(offer["name"]) for offer in offered)
        raise RemoteError(f"The WebUI has no sampler {name!r}; it has {names}.")


class RemoteEvaluation:
    """Scores of images that a WebUI draws and scores, as an objective's ``evaluate_many``.

    Each call is a job of its own in the WebUI's queue, so that other people's jobs get their turn in between.

    Args:
        webui: draws and scores.
        body: the txt2img request without prompt and seed.
        score: name of the score.
        checkpoint: the search's; a switch ends it.
        selected: None if ``checkpoint`` is the selected one, else the name that the request overrides it with.
        should_stop: asked while the WebUI works.
        wait_s: seconds to wait for a WebUI that has gone away.
    """

    def __init__(
        self,
        webui: WebUI,
        body: Mapping[str, Any],
        score: str,
        checkpoint: Checkpoint,
        selected: str | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        wait_s: float = 300.0,
    ) -> None:
        self._webui = webui
        self._body = dict(body)
        self._score = score
        self._checkpoint = checkpoint
        self._selected = selected
        self._should_stop = should_stop
        self._wait_s = wait_s

    def __call__(self, point: Point, images: Sequence[Image]) -> list[float]:
        scores: dict[tuple[str, int], float] = {}
        for prompts, seeds in grids(images):
            found = self._persistently(point, prompts, seeds)
            scores.update(zip([(prompt, seed) for seed in seeds for prompt in prompts], found))
        return [scores[image] for image in images]

    def _persistently(self, point: Point, prompts: list[str], seeds: list[int]) -> list[float]:
        """Asks again while the WebUI is away."""
        end = None
        while True:
            try:
                return self._measured(point, prompts, seeds)
            except UnreachableError as error:
                now = time.monotonic()
                end = now + self._wait_s if end is None else end
                if now >= end:
                    raise AbortSearchError(f"{error} The best so far is kept.") from None
                self._pause(_RETRY_S)

    def _measured(self, point: Point, prompts: list[str], seeds: list[int]) -> list[float]:
        self._check_checkpoint()
        wanted = {"strategy": PointsToEvaluate.name, "starts": [point.to_dict()], "evaluations": 1, "racing": "off"}
        wanted |= {"prompts": prompts, "seeds": seeds, "score": self._score}
        body = {**self._body, "prompt": prompts[0], "seed": seeds[0], "search": wanted}
        try:
            name = self._webui.call("POST", "/crdiff/v1/search", body)["id"]
        except UnreachableError:
            raise
        except RemoteError as error:
            raise AbortSearchError(str(error)) from None
        answer = self._waited(name)
        self._check_checkpoint()
        if answer["state"] == "stopped":
            raise AbortSearchError("The search was stopped in the WebUI; the best so far is kept.", "stopped")
        if answer["state"] == "failed" or not answer["history"]:
            raise EvaluationError(answer["message"])
        return [float(score) for score in answer["history"][0]["scores"]]

    def _waited(self, name: str) -> Any:
        path, (pause, most) = f"/crdiff/v1/search/{name}", _POLLS_S
        while True:
            try:
                answer = self._webui.call("GET", path)
            except UnreachableError:
                raise
            except RemoteError as error:  # it was restarted and has forgotten the job
                raise UnreachableError(str(error)) from None
            if answer["state"] != "running":
                return answer
            self._pause(pause, path)
            pause = min(most, _POLLS_GROW * pause)

    def _pause(self, seconds: float, path: str | None = None) -> None:
        if self._should_stop():
            if path is not None:
                with suppress(RemoteError):  # it ends anyway
                    self._webui.call("DELETE", path)
            raise AbortSearchError(STOPPED, "stopped")
        time.sleep(seconds)

    def _check_checkpoint(self) -> None:
        try:
            found = ask_checkpoint(self._webui, self._selected)
        except UnreachableError:
            raise
        except RemoteError as error:
            raise AbortSearchError(str(error)) from None
        if found.sha256 != self._checkpoint.sha256:
            raise AbortSearchError("The checkpoint was switched during the search; the best so far is kept.")


def grids(images: Sequence[Image]) -> list[tuple[list[str], list[int]]]:
    """Pairs of prompt and image seed as few lists of prompts times seeds, each pair in one of them."""
    by_seed: dict[int, list[str]] = {}
    for prompt, seed in images:
        by_seed.setdefault(seed, []).append(prompt)
    parts: list[tuple[list[str], list[int]]] = []
    for seed, prompts in by_seed.items():
        same = next((part for part in parts if set(part[0]) == set(prompts)), None)
        if same is None:
            parts.append((prompts, [seed]))
        else:
            same[1].append(seed)
    return parts
