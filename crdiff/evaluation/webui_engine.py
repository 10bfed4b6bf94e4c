"""Images by a running WebUI, through its API."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from PIL import Image, UnidentifiedImageError

from crdiff.calibration.kept import Kept
from crdiff.calibration.remote import calibrate
from crdiff.checks import shown
from crdiff.errors import SettingsError
from crdiff.evaluation.engine import Drawn, Request
from crdiff.evaluation.errors import EvaluationError
from crdiff.models.checkpoint import Checkpoint
from crdiff.plan import idle, plan_for
from crdiff.presets.size import Size
from crdiff.pruning.registry import CRITERIA, Needs
from crdiff.search.options import with_checkpoint
from crdiff.search.remote import RemoteError, WebUI, ask_checkpoint, check_sampler
from crdiff.settings import Settings

_SCRIPT, _SCRIPTS = "cr-diff", "alwayson_scripts"
_OF_SCRIPTS = (_SCRIPTS, "script_name", "script_args")
_CALIBRATIONS = "/crdiff/v1/calibrations"
_LONG = 1000
"""Characters up to which a script's text, which may be an image, is told as it is in a journal and report."""
_PROGRESS = "/sdapi/v1/progress?skip_current_image=true"
_SAMPLER = "Euler"
"""What the API of every host takes where a request names none."""

_OPTIONS = (
    "sd_vae", "CLIP_stop_at_last_layers", "sd_unet", "forge_additional_modules", "forge_unet_storage_dtype",
    "fp8_storage", "cache_fp16_weight", "upcast_attn", "randn_source", "emphasis", "comma_padding_backtrack",
    "use_old_emphasis_implementation", "use_old_scheduling", "use_downcasted_alpha_bar", "sd_noise_schedule",
    "sdxl_crop_left", "sdxl_crop_top", "tiling", "reflective_padding_vae_sd", "scaling_factor", "sd_vae_decode_method",
    "pad_cond_uncond", "pad_cond_uncond_v0", "s_min_uncond", "s_min_uncond_all", "skip_early_cond",
    "token_merging_ratio", "hypertile_enable_unet", "hypertile_max_depth_unet", "hypertile_max_tile_unet",
    "eta_ddim", "eta_ancestral", "ddim_discretize", "s_churn", "s_tmin", "s_tmax", "s_noise", "k_sched_type",
    "sigma_min", "sigma_max", "rho", "beta_dist_alpha", "beta_dist_beta", "eta_noise_seed_delta",
    "always_discard_next_to_last_sigma", "sgm_noise_multiplier", "uni_pc_variant", "uni_pc_skip_type", "uni_pc_order",
    "uni_pc_lower_order_final", "no_dpmpp_sde_batch_determinism", "use_old_karras_scheduler_sigmas",
    "inpainting_mask_weight", "refiner_switch_by_sample_steps", "hires_fix_use_firstpass_conds",
    "token_merging_ratio_hr", "lora_functional", "extra_networks_default_multiplier", "face_restoration",
    "enable_prompt_comments", "forge_try_reproduce", "sdxl_clip_l_skip", "sdxl_zero_neg", "token_merging_stride",
    "token_merging_downsample", "token_merging_no_rand", "invert_sigmas", "use_karras_sigmas",
    "use_exponential_sigmas", "use_beta_sigmas", "stochastic_sampling", "sd_sampling", "fp8_fast", "sd3_enable_t5",
)  # fmt: skip
"""The WebUI's own that images depend on, whatever is requested; no host has all of them."""

_ASK_AGAIN_S = 0.5
"""A job of somebody else's may override settings while it runs."""

_SOURCE, _NOTE = "CR-Diff source: ", "CR-Diff note: "


class WebUIEngine:
    """Each image is a job of its own in the WebUI's queue; none is saved there.

    Args:
        webui: with this extension, started with ``--api``.
        request: the fields of the txt2img request that all images share.
        checkpoint: to draw with; None takes the selected one.

    Raises:
        RemoteError: the WebUI cannot be reached, or cannot draw so.
        SettingsError: the request has settings of CR-Diff, which are those of the ways.
    """

    def __init__(self, webui: WebUI, request: Mapping[str, Any], checkpoint: str | None = None) -> None:
        self._webui, self._name = webui, checkpoint
        _check_scripts(request.get(_SCRIPTS, {}))
        sampler = {} if "sampler_index" in request else {"sampler_name": _SAMPLER}
        self._body = with_checkpoint({**sampler, **request}, checkpoint)
        check_sampler(webui, self._body.get("sampler_name"))
        self.checkpoint = ask_checkpoint(webui, checkpoint)
        self._options = self._present_options()
        self._calibrations: dict[str, str] = {}

    @property
    def identity(self) -> Mapping[str, Any]:
        request = {name: _brief(value) if name in _OF_SCRIPTS else value for name, value in self._body.items()}
        return {"engine": "webui", "model": self.checkpoint.key, "request": request, "options": self._options}

    def check(self, size: Size, settings: Settings) -> None:
        if size.height % 8 or size.width % 8:
            raise SettingsError(f"{size}: WebUIs draw sizes whose sides are multiples of 8.")

    def calibration(self, settings: Settings) -> str | None:
        if not settings.enabled or CRITERIA[settings.criterion].needs is Needs.NOTHING:
            return ""
        found = self._in_force(settings.criterion)
        if found is not None:
            self._calibrations[settings.criterion] = found
        return found

    def calibrate(self, kept: Kept, should_stop: Callable[[], bool]) -> bool:
        request = {name: value for name, value in self._body.items() if name not in _OF_SCRIPTS}
        wanted = {"hessians": kept.hessians, "gradients": kept.gradients}
        answer = calibrate(self._webui, request, wanted, should_stop)
        if answer["state"] == "failed":
            raise EvaluationError(answer["message"])
        if answer["state"] == "stopped" and answer["calibration"]:
            with suppress(RemoteError):  # no evaluation goes by a few of the images
                self._webui.call("DELETE", f"{_CALIBRATIONS}/{answer['calibration']}")
        return bool(answer["state"] == "done")

    def _in_force(self, criterion: str) -> str | None:
        """The id of the calibration without LoRAs that a criterion goes by: the latest of the weights, in whatever
        precision, if it suffices.
        """
        latest: dict[str, Mapping[str, Any]] = {}
        for one in self._webui.call("GET", _CALIBRATIONS):
            if one["checkpoint"] == self.checkpoint.key and not one["modifiers"]:
                latest.setdefault(one["name"].rpartition("-")[0], one)
        return next((str(one["id"]) for one in latest.values() if criterion not in one["lacking"]), None)

    def _present_options(self) -> dict[str, Any]:
        options = self._webui.call("GET", "/sdapi/v1/options")
        # Hosts do not always put back what a request overrides, which is known anyway.
        known = [name for name in _OPTIONS if name in options and name not in self._body.get("override_settings", {})]
        # JSON has no number for what is not finite.
        return {name: value if _finite(value := options[name]) else str(value) for name in known}

    def _settled_options(self) -> dict[str, Any]:
        """Those of between the jobs of others, if they differ now."""
        now = self._present_options()
        while now != self._options and self._webui.call("GET", _PROGRESS)["state"].get("job_count"):
            time.sleep(_ASK_AGAIN_S)
            now = self._present_options()
        return now

    def _check_unchanged(self, settings: Settings) -> None:
        """Raises EvaluationError if an image would be another one than at the start."""
        if ask_checkpoint(self._webui, self._name).key != self.checkpoint.key:
            raise EvaluationError("The checkpoint was switched in the WebUI; select the former one to resume.")
        now = self._settled_options()
        for name in (name for name in _OPTIONS if now.get(name) != self._options.get(name)):
            raise EvaluationError(f"The WebUI's setting {name} was changed meanwhile; put it back to resume.")
        known = self._calibrations.get(settings.criterion) if settings.enabled else None
        if known is not None and self._in_force(settings.criterion) != known:
            raise EvaluationError(
                "The checkpoint was calibrated anew meanwhile; the same command draws what depends on it again."
            )

    def draw(self, request: Request) -> Drawn:
        self._check_unchanged(request.settings)
        size = {"height": request.size.height, "width": request.size.width}
        body = {**self._body, **size, "prompt": request.prompt, "seed": request.seed}
        scripts = {**body.get(_SCRIPTS, {}), _SCRIPT: {"args": [request.settings.to_dict()]}}
        only_answered = {"send_images": True, "save_images": False, "batch_size": 1, "n_iter": 1}
        answer = self._webui.call("POST", "/sdapi/v1/txt2img", {**body, _SCRIPTS: scripts, **only_answered})
        try:
            infotext = str(json.loads(answer["info"])["infotexts"][0])
            image = Image.open(io.BytesIO(base64.b64decode(str(answer["images"][0]).split(",", 1)[-1])))
            image.load()
        except (KeyError, IndexError, TypeError, ValueError, binascii.Error, UnidentifiedImageError, OSError) as error:
            raise EvaluationError(f"The WebUI's answer holds no image ({shown(error)}).") from None
        if not _acted(request, self.checkpoint, infotext):
            note = infotext.partition(_NOTE)[2] or "its infotext does not say that CR-Diff acted"
            raise EvaluationError(f"The WebUI drew without CR-Diff: {note}")
        return Drawn(image.convert("RGB"), infotext)


def _check_scripts(scripts: object) -> None:
    if not isinstance(scripts, Mapping):
        raise SettingsError(f"{_SCRIPTS} of a request is an object of scripts by their names, not {shown(scripts)}.")
    if any(str(name).lower() == _SCRIPT for name in scripts):
        raise SettingsError(f"{_SCRIPT} in {_SCRIPTS} is set by the command itself, way by way.")


def _brief(value: Any) -> Any:
    """Plain JSON in which a hash stands for each long text."""
    if isinstance(value, Mapping):
        return {name: _brief(part) for name, part in value.items()}
    if isinstance(value, list):
        return [*map(_brief, value)]
    if isinstance(value, str) and len(value) > _LONG:
        return f"sha256 {hashlib.sha256(value.encode()).hexdigest()}"
    return value


def _finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _acted(request: Request, checkpoint: Checkpoint, infotext: str) -> bool:
    """Whether the WebUI did what the settings, ratios and k by hand, ask for.

    An enabled job's infotext tells its settings whatever came of them, and a source where something was done.
    """
    if not request.settings.enabled:
        return True
    plan = plan_for(request.settings, request.size).make(checkpoint)
    if _SOURCE not in infotext:
        return plan.idle is not None
    return f'{_SOURCE}"no pruning' not in infotext or idle(plan.schedule, plan.k) is not None
