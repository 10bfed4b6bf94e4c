"""What the Generate buttons call: from the values of a tab's components to images and their texts."""

from __future__ import annotations

import html
import json
import tempfile
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import gradio as gr
import standin_flavour as flavour
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import modules.scripts
import modules.shared as shared
from common.infotext_paste import create_override_settings_dict, image_from_url_text
from modules import processing

SAME = {"Use same checkpoint", "Use same sampler", "Use same scheduler"}
_gallery_dir: Path | None = None


def plaintext_to_html(text: str, classname: str | None = None) -> str:
    content = "<br>\n".join(html.escape(x) for x in text.split("\n"))
    return f"<p class='{classname}'>{content}</p>" if classname else f"<p>{content}</p>"


def update_generation_info(generation_info: str, html_info: str, img_index: Any) -> tuple[Any, Any]:
    """The infotext of the image chosen in the gallery."""
    try:
        texts = json.loads(generation_info)["infotexts"]
        index = int(img_index)
        if not 0 <= index < len(texts):
            return html_info, gr.update()
        return plaintext_to_html(texts[index]), gr.update()
    except (ValueError, KeyError, TypeError):
        return html_info, gr.update()


def for_gallery(image: Any) -> Any:
    """A file with the image's text in it: gradio would write images without, or in another format."""
    global _gallery_dir
    if not isinstance(image, Image.Image):
        return image
    if _gallery_dir is None:
        _gallery_dir = Path(tempfile.mkdtemp(prefix="standin-gallery-"))
    texts = PngInfo()
    for key, value in image.info.items():
        if isinstance(key, str) and isinstance(value, str):
            texts.add_text(key, value)
    path = _gallery_dir / f"{uuid.uuid4().hex}.png"
    image.save(path, pnginfo=texts)
    return str(path)


def _known(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """Arguments of both flavours, less those this flavour's processing does not have."""
    names = {field.name for field in fields(kind) if field.init}
    return {key: value for key, value in values.items() if key in names}


def _run(p: Any, runner: Any, args: tuple, request: Any) -> tuple:
    p.scripts = runner
    p.script_args = args
    p.user = getattr(request, "username", None)
    with closing(p):
        processed = runner.run(p, *p.script_args)
        if processed is None:
            processed = processing.process_images(p)
    shared.total_tqdm.clear()
    images = [*processed.images, *(processed.extra_images if flavour.NAME == "forge" else [])]
    # The text is stored with the image as the hosts store it, so that it can be sent on from the gallery.
    for image, text in zip(images, processed.infotexts, strict=False):
        if isinstance(image, Image.Image):
            image.info.setdefault("parameters", text)
    return (
        [for_gallery(image) for image in images],
        processed.js(),
        plaintext_to_html(processed.info),
        plaintext_to_html(processed.comments, classname="comments"),
    )


def _same_as_none(value: Any) -> Any:
    return None if value in SAME else value


def _txt2img(id_task: str, request: Any, names: list[str], *args: Any) -> tuple:
    values = dict(zip(names, args, strict=False))
    kind = processing.StableDiffusionProcessingTxt2Img
    for name in ("hr_checkpoint_name", "hr_sampler_name", "hr_scheduler"):
        values[name] = _same_as_none(values.get(name))
    values["override_settings"] = create_override_settings_dict(values.pop("override_settings_texts"))
    values["hr_additional_modules"] = ["Use same choices"]
    p = kind(
        sd_model=shared.sd_model,
        outpath_samples=shared.opts.outdir_samples or shared.opts.outdir_txt2img_samples,
        outpath_grids=shared.opts.outdir_txt2img_grids,
        **_known(kind, values),
    )
    return _run(p, modules.scripts.scripts_txt2img, args[len(names) :], request)


def _img2img(id_task: str, request: Any, names: list[str], *args: Any) -> tuple:
    values = dict(zip(names, args, strict=False))
    kind = processing.StableDiffusionProcessingImg2Img
    inpainting = int(values.pop("mode")) == 1
    image = image_from_url_text(values.pop("inpaint_image" if inpainting else "init_image"))
    mask = values.pop("inpaint_mask")
    if image is None:
        raise ValueError("There is no image to start from.")
    values["init_images"] = [image.convert("RGB")]
    values["mask"] = image_from_url_text(mask) if inpainting else None
    values["override_settings"] = create_override_settings_dict(values.pop("override_settings_texts"))
    p = kind(
        sd_model=shared.sd_model,
        outpath_samples=shared.opts.outdir_samples or shared.opts.outdir_img2img_samples,
        outpath_grids=shared.opts.outdir_img2img_grids,
        **_known(kind, values),
    )
    return _run(p, modules.scripts.scripts_img2img, args[len(names) :], request)


def generation_function(tab: str, names: list[str]) -> Callable:
    """The function for the Generate button; ``names`` are those of the components before the scripts' own."""
    inner = _img2img if tab == "img2img" else _txt2img

    def generate(id_task: str, request: gr.Request, *args: Any) -> tuple:
        if flavour.NAME != "forge":
            return inner(id_task, request, names, *args)
        # Forge keeps all work with its models on the thread it was started on.
        from modules_forge import main_thread

        return main_thread.run_and_wait_result(inner, id_task, request, names, *args)

    return generate
