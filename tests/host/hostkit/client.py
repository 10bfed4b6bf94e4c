"""A WebUI's HTTP API."""

from __future__ import annotations

import base64
import io
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.int16]
Payload = dict[str, Any]

_REQUEST_LIMIT_SECONDS = 600
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class HostError(Exception):
    """The WebUI answered with an error."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body

    @property
    def sentence(self) -> str:
        """What the answer tells the user."""
        detail = self.body.get("detail", "") if isinstance(self.body, Mapping) else self.body
        return str(detail)


@dataclass(frozen=True)
class Drawing:
    """The pictures of one request, with what the WebUI wrote about them."""

    pictures: tuple[Pixels, ...]
    infotexts: tuple[str, ...]
    encoded: tuple[str, ...]

    @property
    def infotext(self) -> str:
        return self.infotexts[0]


class Client:
    """One running WebUI.

    Args:
        url: where it listens, such as ``http://127.0.0.1:7860``.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def get(self, path: str) -> Any:
        return self._send(urllib.request.Request(self.url + path))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        # json.dumps writes NaN as NaN, which is what a careless client sends.
        data = json.dumps(body or {}).encode()
        return self._send(urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}))

    def delete(self, path: str) -> Any:
        return self._send(urllib.request.Request(self.url + path, method="DELETE"))

    def _send(self, request: urllib.request.Request) -> Any:
        try:
            with _opener.open(request, timeout=_REQUEST_LIMIT_SECONDS) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            content = error.read()
            try:
                body = json.loads(content or b"null")
            except ValueError:
                body = content.decode(errors="replace")
            raise HostError(error.code, body) from None

    def draw(self, payload: Mapping[str, Any]) -> Drawing:
        """txt2img, or img2img if the payload has ``init_images``."""
        kind = "img2img" if "init_images" in payload else "txt2img"
        answer = self.post(f"/sdapi/v1/{kind}", payload)
        return Drawing(
            pictures=tuple(decoded(picture) for picture in answer["images"]),
            infotexts=tuple(json.loads(answer["info"])["infotexts"]),
            encoded=tuple(answer["images"]),
        )

    def options(self) -> dict[str, Any]:
        options: dict[str, Any] = self.get("/sdapi/v1/options")
        return options

    @contextmanager
    def option(self, name: str, value: Any, *, usual: Any = None) -> Iterator[None]:
        """A setting of the WebUI, put back afterwards.

        Args:
            name: the setting.
            value: what to set it to.
            usual: what to put back if the WebUI does not tell; Forge tells only of its own settings.
        """
        options = self.options()
        assert name in options or usual is not None, f"the WebUI has no setting {name}"
        before = options.get(name, usual)
        self.post("/sdapi/v1/options", {name: value})
        try:
            yield
        finally:
            self.post("/sdapi/v1/options", {name: before})


def decoded(picture: str) -> Pixels:
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        return np.asarray(image.convert("RGB")).astype(np.int16)


def encode(pixels: NDArray[np.uint8]) -> str:
    """A picture as the API takes it."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@dataclass(frozen=True)
class Distance:
    """How far two drawings are apart, of 255: the largest difference in any channel of any pixel, and the mean one."""

    largest: int
    mean: float

    def within(self, allowed: Distance) -> bool:
        return self.largest <= allowed.largest and self.mean <= allowed.mean


def distance(one: Drawing, other: Drawing) -> Distance:
    """Between the images of two requests; the largest of each over the images."""
    pairs = list(zip(one.pictures, other.pictures, strict=True))
    return Distance(max(difference(*pair) for pair in pairs), max(mean_difference(*pair) for pair in pairs))


def difference(one: Pixels, other: Pixels) -> int:
    """Largest difference of two pictures in any channel of any pixel, of 255."""
    assert one.shape == other.shape, f"pictures of different sizes: {one.shape} and {other.shape}"
    return int(np.abs(one - other).max())


def mean_difference(one: Pixels, other: Pixels) -> float:
    """Mean difference of two pictures, of 255."""
    assert one.shape == other.shape, f"pictures of different sizes: {one.shape} and {other.shape}"
    return float(np.abs(one.astype(float) - other).mean())
