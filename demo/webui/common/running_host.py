"""A running host, called through its own API in the same interpreter."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from common.config import HostConfig


@dataclass
class Result:
    """The images of a request; ``images[i].info["parameters"]`` is the infotext."""

    images: list[Image.Image]
    info: dict[str, Any]
    parameters: dict[str, Any]

    @property
    def infotexts(self) -> list[str]:
        return self.info["infotexts"]


class RequestFailed(RuntimeError):
    def __init__(self, status_code: int, body: Any) -> None:
        super().__init__(status_code, body)
        self.status_code = status_code
        self.body = body

    def __str__(self) -> str:
        return f"HTTP {self.status_code}: {self.body}"


def to_base64(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def from_base64(text: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    image.load()
    return image


DEFAULTS: dict[str, Any] = {"prompt": "a small red house", "seed": 1, "steps": 4, "width": 64, "height": 64,
                            "sampler_name": "Euler", "scheduler": "Automatic",
                            "cfg_scale": 5.0}


@dataclass
class Host:
    config: HostConfig
    demo: Any
    app: Any
    api: Any
    shared: Any
    _client: Any = field(default=None, repr=False)

    @property
    def client(self) -> Any:
        """An HTTP client to the app, without a port."""
        if self._client is None:
            from fastapi.testclient import TestClient

            self._client = TestClient(self.app, raise_server_exceptions=False)
        return self._client

    def get(self, path: str, **kwargs: Any) -> Any:
        return self._answer(self.client.get(self._url(path), **kwargs))

    def post(self, path: str, body: Any = None, **kwargs: Any) -> Any:
        return self._answer(self.client.post(self._url(path), json=body, **kwargs))

    def txt2img(self, request: dict[str, Any] | None = None, **fields: Any) -> Result:
        """``/sdapi/v1/txt2img`` with small defaults; fields as a dict, as keywords, or both."""
        return self._generate("txt2img", request, fields)

    def img2img(self, request: dict[str, Any] | None = None, **fields: Any) -> Result:
        """As txt2img; ``init_images`` and ``mask`` may be PIL images."""
        given = {**(request or {}), **fields}
        encode = lambda x: to_base64(x) if isinstance(x, Image.Image) else x  # noqa: E731
        given["init_images"] = [encode(x) for x in given.get("init_images", [])]
        if given.get("mask") is not None:
            given["mask"] = encode(given["mask"])
        return self._generate("img2img", given, {})

    @staticmethod
    def _url(path: str) -> str:
        return path if path.startswith("/") else f"/sdapi/v1/{path}"

    def _answer(self, response: Any) -> Any:
        try:
            body = response.json()
        except ValueError:
            body = response.text
        if response.status_code != 200:
            raise RequestFailed(response.status_code, body)
        return body

    def _generate(self, tab: str, request: dict | None, fields: dict) -> Result:
        body = self.post(tab, {**DEFAULTS, **(request or {}), **fields})
        images = [from_base64(x) for x in body["images"]]
        return Result(images=images, info=json.loads(body["info"]), parameters=body["parameters"])
