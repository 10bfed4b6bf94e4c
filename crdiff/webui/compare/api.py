"""The images of the last comparisons, served to the page that shows them."""

from __future__ import annotations

import io
from typing import Any

from crdiff.webui.compare.context import CompareContext


def add_compare_routes(app: Any, context: CompareContext) -> None:
    """Register the route with the host's FastAPI app. Its address holds a key that only the page was told."""
    from fastapi import HTTPException, Response

    def image(key: str, place: int) -> Any:
        comparison = context.kept.get(key)
        drawn = [] if comparison is None else [column.images[row] for column, row in comparison.cells()]
        if not 0 <= place < len(drawn):
            raise HTTPException(404, "This comparison is no longer kept.")
        return Response(_png(drawn[place].image, drawn[place].infotext), media_type="image/png")

    app.add_api_route(f"/{context.path}/{{key}}/{{place}}.png", image, methods=["GET"], include_in_schema=False)


def _png(image: Any, infotext: str) -> bytes:
    """With the infotext in it, as the host saves it."""
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    texts.add_text("parameters", infotext)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=texts)
    return buffer.getvalue()
