"""The HTTP API: generation, progress, settings, and what scripts there are."""

from __future__ import annotations

import base64
import io
import time
from contextlib import closing
from typing import Any

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import HTTPException
from fastapi.responses import JSONResponse
from PIL import Image, PngImagePlugin

import modules.shared as shared
import standin_flavour as flavour
from common.host.api_infotext import apply_infotext
from modules import errors, images, scripts, sd_models, sd_samplers, ui
from modules.api import models
from modules.processing import StableDiffusionProcessingImg2Img, StableDiffusionProcessingTxt2Img, process_images
from modules.progress import add_task_to_queue, create_task_id, finish_task, job_fraction, start_task
from modules.shared import opts


def script_name_to_index(name: str, candidates: list) -> int:
    try:
        return [script.title().lower() for script in candidates].index(name.lower())
    except Exception as e:
        raise HTTPException(status_code=422, detail=f"Script '{name}' not found") from e


def validate_sampler_name(name: str) -> str:
    if name not in sd_samplers.all_samplers_map:
        raise HTTPException(status_code=400, detail="Sampler not found")
    return name


def decode_base64_to_image(encoding: str) -> Image.Image:
    if encoding.startswith("data:image/"):
        encoding = encoding.split(";")[1].split(",")[1]
    try:
        return images.read(io.BytesIO(base64.b64decode(encoding)))
    except Exception as e:
        raise HTTPException(status_code=500, detail="Invalid encoded image") from e


def encode_pil_to_base64(image: Any) -> Any:
    if isinstance(image, str):
        return image
    info = PngImagePlugin.PngInfo()
    for key, value in image.info.items():
        if isinstance(key, str) and isinstance(value, str):
            info.add_text(key, value)
    with io.BytesIO() as buffer:
        image.save(buffer, format="PNG", pnginfo=info)
        return base64.b64encode(buffer.getvalue()).decode("ascii")


def api_middleware(app: FastAPI) -> None:
    """Every exception becomes a JSON answer; one that brings ``status_code`` and ``detail`` sets them itself."""
    def handle_exception(request: Request, e: Exception) -> JSONResponse:
        values = vars(e)
        err = {"error": type(e).__name__, "detail": values.get("detail", ""), "body": values.get("body", ""),
               flavour.API_ERROR_TEXT_KEY: str(e)}
        if not isinstance(e, HTTPException):
            errors.report(f"API error: {request.method}: {request.url} {err}", exc_info=True)
        return JSONResponse(status_code=values.get("status_code", 500), content=jsonable_encoder(err))

    @app.middleware("http")
    async def exception_handling(request: Request, call_next: Any) -> Any:
        try:
            return await call_next(request)
        except Exception as e:
            return handle_exception(request, e)

    @app.exception_handler(HTTPException)
    async def http_exception_handler(request: Request, e: HTTPException) -> JSONResponse:
        return handle_exception(request, e)


class Api:
    def __init__(self, app: FastAPI, queue_lock: Any) -> None:
        self.app = app
        self.queue_lock = queue_lock
        api_middleware(app)
        for path, endpoint, method, answer in (
            ("txt2img", self.text2imgapi, "POST", models.TextToImageResponse),
            ("img2img", self.img2imgapi, "POST", models.ImageToImageResponse),
            ("progress", self.progressapi, "GET", models.ProgressResponse),
            ("interrupt", self.interruptapi, "POST", None),
            ("skip", self.skip, "POST", None),
            ("options", self.get_config, "GET", None),
            ("options", self.set_config, "POST", None),
            ("samplers", self.get_samplers, "GET", list[models.SamplerItem]),
            ("sd-models", self.get_sd_models, "GET", list[models.SDModelItem]),
            ("scripts", self.get_scripts_list, "GET", models.ScriptsList),
            ("script-info", self.get_script_info, "GET", list[models.ScriptInfo]),
        ):
            app.add_api_route(f"/sdapi/v1/{path}", endpoint, methods=[method], response_model=answer)

        if not scripts.scripts_txt2img.scripts or not scripts.scripts_img2img.scripts:
            ui.create_ui()
        self.default_script_arg_txt2img = self.init_default_script_args(scripts.scripts_txt2img)
        self.default_script_arg_img2img = self.init_default_script_args(scripts.scripts_img2img)

    # Scripts and their arguments

    def init_default_script_args(self, script_runner: Any) -> list:
        """Asks every script for its controls again, twice: once to see whether there are any."""
        args: list[Any] = [None] * max([1, *(script.args_to for script in script_runner.scripts)])
        args[0] = 0
        with gr.Blocks():
            for script in script_runner.scripts:
                if script.ui(script.is_img2img):
                    values = [elem.value for elem in script.ui(script.is_img2img)]
                    args[script.args_from : script.args_to] = values
        return args

    def get_selectable_script(self, script_name: str | None, script_runner: Any) -> tuple:
        if not script_name:
            return None, None
        index = script_name_to_index(script_name, script_runner.selectable_scripts)
        return script_runner.selectable_scripts[index], index

    def get_script(self, script_name: str, script_runner: Any) -> Any:
        return script_runner.scripts[script_name_to_index(script_name, script_runner.scripts)]

    def init_script_args(self, request: Any, default_script_args: list, selectable_scripts: Any,
                         selectable_idx: int | None, script_runner: Any, *,
                         input_script_args: dict | None = None) -> list:
        script_args = default_script_args.copy()
        for index, value in (input_script_args or {}).items():
            script_args[index] = value
        if selectable_scripts:
            script_args[selectable_scripts.args_from : selectable_scripts.args_to] = request.script_args
            script_args[0] = selectable_idx + 1
        for name, given in (request.alwayson_scripts or {}).items():
            script = self.get_script(name, script_runner)
            if script.alwayson is False:
                raise HTTPException(status_code=422,
                                    detail="Cannot have a selectable script in the always on scripts params")
            # A shorter list leaves the rest at their defaults, a longer one is cut.
            for offset, value in zip(range(script.args_to - script.args_from), given.get("args", [])):
                script_args[script.args_from + offset] = value
        return script_args

    def get_scripts_list(self) -> models.ScriptsList:
        names = [[s.name for s in runner.scripts if s.name is not None]
                 for runner in (scripts.scripts_txt2img, scripts.scripts_img2img)]
        return models.ScriptsList(txt2img=names[0], img2img=names[1])

    def get_script_info(self) -> list:
        everything = [*scripts.scripts_txt2img.scripts, *scripts.scripts_img2img.scripts]
        return [s.api_info for s in everything if s.api_info is not None]

    # Generation

    def _generate(self, request: Any, tab: str, kind: type, script_runner: Any, defaults: list,
                  update: dict[str, Any], dropped: tuple[str, ...], prepare: Any = None) -> Any:
        task_id = request.force_task_id or create_task_id(tab)
        from_infotext: dict[int, Any] = {}
        apply_infotext(request, tab, script_runner=script_runner, mentioned_script_args=from_infotext)
        selectable, index = self.get_selectable_script(request.script_name, script_runner)
        sampler, scheduler = sd_samplers.get_sampler_and_scheduler(
            request.sampler_name or request.sampler_index, request.scheduler)
        values = {k: v for k, v in vars(request).items() if not k.startswith("_")}
        values.update(update, sampler_name=validate_sampler_name(sampler), sampler_index=None,
                      do_not_save_samples=not request.save_images, do_not_save_grid=not request.save_images)
        if not values["scheduler"] and scheduler != "Automatic":
            values["scheduler"] = scheduler
        for name in ("script_name", "script_args", "alwayson_scripts", "infotext", "send_images", "save_images",
                     *dropped):
            values.pop(name, None)
        script_args = self.init_script_args(request, defaults, selectable, index, script_runner,
                                            input_script_args=from_infotext)
        add_task_to_queue(task_id)
        with self.queue_lock, closing(kind(sd_model=shared.sd_model, **values)) as p:
            if prepare is not None:
                prepare(p)
            p.is_api = True
            p.scripts = script_runner
            p.outpath_grids = getattr(opts, f"outdir_{tab}_grids")
            p.outpath_samples = getattr(opts, f"outdir_{tab}_samples")
            try:
                shared.state.begin(job=f"scripts_{tab}")
                start_task(task_id)
                if selectable is not None:
                    p.script_args = script_args
                    processed = script_runner.run(p, *p.script_args)
                else:
                    p.script_args = tuple(script_args)
                    processed = process_images(p)
                finish_task(task_id)
            finally:
                shared.state.end()
                shared.total_tqdm.clear()
        return processed

    def _encoded(self, request: Any, processed: Any) -> list[str]:
        if not request.send_images:
            return []
        return [encode_pil_to_base64(x) for x in [*processed.images, *processed.extra_images]]

    def text2imgapi(self, txt2imgreq: models.StableDiffusionTxt2ImgProcessingAPI) -> models.TextToImageResponse:
        processed = self._generate(txt2imgreq, "txt2img", StableDiffusionProcessingTxt2Img, scripts.scripts_txt2img,
                                   self.default_script_arg_txt2img, {}, ())
        return models.TextToImageResponse(images=self._encoded(txt2imgreq, processed), parameters=vars(txt2imgreq),
                                          info=processed.js())

    def img2imgapi(self, img2imgreq: models.StableDiffusionImg2ImgProcessingAPI) -> models.ImageToImageResponse:
        if img2imgreq.init_images is None:
            raise HTTPException(status_code=404, detail="Init image not found")
        mask = decode_base64_to_image(img2imgreq.mask) if img2imgreq.mask else img2imgreq.mask

        def prepare(p: Any) -> None:
            p.init_images = [decode_base64_to_image(x) for x in img2imgreq.init_images]

        processed = self._generate(img2imgreq, "img2img", StableDiffusionProcessingImg2Img, scripts.scripts_img2img,
                                   self.default_script_arg_img2img, {"mask": mask}, ("include_init_images",), prepare)
        if not img2imgreq.include_init_images:
            img2imgreq.init_images = None
            img2imgreq.mask = None
        return models.ImageToImageResponse(images=self._encoded(img2imgreq, processed), parameters=vars(img2imgreq),
                                           info=processed.js())

    # State

    def progressapi(self, skip_current_image: bool = False) -> models.ProgressResponse:
        state = shared.state
        if state.job_count == 0:
            return models.ProgressResponse(progress=0, eta_relative=0, state=state.dict(), textinfo=state.textinfo)
        done = min(0.01 + job_fraction(), 1)
        elapsed = time.time() - state.time_start
        state.set_current_image()
        preview = None
        if state.current_image and not skip_current_image:
            preview = encode_pil_to_base64(state.current_image)
        return models.ProgressResponse(progress=done, eta_relative=elapsed / done - elapsed, state=state.dict(),
                                       current_image=preview, textinfo=state.textinfo)

    def interruptapi(self) -> dict:
        shared.state.interrupt()
        return {}

    def skip(self) -> None:
        shared.state.skip()

    def get_config(self) -> dict:
        """Every setting, also those that were never set."""
        return {**{k: v.default for k, v in opts.data_labels.items()}, **opts.data}

    def set_config(self, req: dict[str, Any]) -> None:
        flavour.set_config(req)

    def get_samplers(self) -> list[dict]:
        return [{"name": x[0], "aliases": x[2], "options": x[3]} for x in sd_samplers.all_samplers]

    def get_sd_models(self) -> list[dict]:
        return [{"title": x.title, "model_name": x.model_name, "hash": x.shorthash, "sha256": x.sha256,
                 "filename": x.filename, "config": None} for x in sd_models.checkpoints_list.values()]
