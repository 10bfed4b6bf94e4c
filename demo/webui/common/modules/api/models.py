"""The API's requests and answers. The request fields are the constructor arguments of the processing classes."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Optional

from pydantic import BaseModel, create_model

from modules.processing import StableDiffusionProcessingImg2Img, StableDiffusionProcessingTxt2Img

API_NOT_ALLOWED = {
    "self", "kwargs", "sd_model", "outpath_samples", "outpath_grids", "sampler_index", "extra_generation_params",
    "overlay_images", "do_not_save_samples", "do_not_save_grid",
}
_TYPES: dict[str, Any] = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict}
_COMMON: dict[str, tuple[Any, Any]] = {
    "do_not_save_samples": (Optional[bool], False), "do_not_save_grid": (Optional[bool], False),
    "sampler_index": (Optional[str], "Euler"), "script_name": (Optional[str], None),
    "script_args": (Optional[list], []), "send_images": (Optional[bool], True), "save_images": (Optional[bool], False),
    "alwayson_scripts": (Optional[dict], {}), "force_task_id": (Optional[str], None),
    "infotext": (Optional[str], None),
}


def _request(name: str, kind: type, **extra: tuple[Any, Any]) -> type[BaseModel]:
    fields: dict[str, tuple[Any, Any]] = {}
    for field in dataclasses.fields(kind):
        if not field.init or field.name in API_NOT_ALLOWED:
            continue
        default = None if isinstance(field.default, property) else field.default
        # A seed or a prompt may be a list, one for each image.
        wanted = Any if field.name in ("prompt", "negative_prompt", "seed", "subseed") else _TYPES.get(field.type, Any)
        fields[field.name] = (Optional[wanted], default)
    return create_model(name, **{**fields, **_COMMON, **extra})


StableDiffusionTxt2ImgProcessingAPI = _request("StableDiffusionProcessingTxt2Img", StableDiffusionProcessingTxt2Img,
                                               denoising_strength=(Optional[float], None))
StableDiffusionImg2ImgProcessingAPI = _request(
    "StableDiffusionProcessingImg2Img", StableDiffusionProcessingImg2Img, init_images=(Optional[list], None),
    denoising_strength=(Optional[float], 0.75), mask=(Optional[str], None), include_init_images=(bool, False),
)


class TextToImageResponse(BaseModel):
    images: Optional[List[str]] = None
    parameters: dict
    info: str


class ImageToImageResponse(TextToImageResponse):
    pass


class ProgressResponse(BaseModel):
    progress: float
    eta_relative: float
    state: dict
    current_image: Optional[str] = None
    textinfo: Optional[str] = None


class SamplerItem(BaseModel):
    name: str
    aliases: List[str]
    options: Dict[str, Any]


class SDModelItem(BaseModel):
    title: str
    model_name: str
    hash: Optional[str] = None
    sha256: Optional[str] = None
    filename: str
    config: Optional[str] = None


class ScriptsList(BaseModel):
    txt2img: Optional[list] = None
    img2img: Optional[list] = None


class ScriptArg(BaseModel):
    label: Optional[str] = None
    value: Optional[Any] = None
    minimum: Optional[Any] = None
    maximum: Optional[Any] = None
    step: Optional[Any] = None
    choices: Optional[List[Any]] = None


class ScriptInfo(BaseModel):
    name: Optional[str] = None
    is_alwayson: Optional[bool] = None
    is_img2img: Optional[bool] = None
    args: List[ScriptArg] = []
