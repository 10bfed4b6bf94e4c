"""Images by a pipeline of diffusers, in this process; no WebUI is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

from crdiff import __version__
from crdiff.calibration.kept import Kept
from crdiff.calibration.pipeline import PipelineCalibrations
from crdiff.calibration.prompts import neutral_prompts
from crdiff.errors import CRDiffError, SettingsError
from crdiff.evaluation.engine import Drawn, Request, Sampling
from crdiff.evaluation.errors import EvaluationError
from crdiff.evaluation.ways import changed
from crdiff.files import sha256_of
from crdiff.method.groups import GROUPS
from crdiff.models.architecture import find_layers
from crdiff.models.checkpoint import Checkpoint
from crdiff.models.checkpoint_file import read_family
from crdiff.pipelines import applied
from crdiff.presets.library import PresetLibrary
from crdiff.presets.size import Size
from crdiff.pruning.calibrations import Calibrations
from crdiff.pruning.lacking import meets
from crdiff.pruning.registry import CRITERIA, Needs
from crdiff.pruning.store import Store
from crdiff.settings import Settings

_DIGITS = 16
_CALIBRATED_WITH = 16
"""Images, as in a WebUI."""
_UNUSED = "safety_checker"
"""The part of a pipeline that is left out, so that images do not depend on its weights."""


class DiffusersEngine:
    """A pipeline with a UNet.

    Args:
        pipe: the pipeline, on its device.
        sampling: of all images; a sampler is the name of one of diffusers' scheduler classes.
        name: of the model.
        sha256: of its file, by which presets are looked up; None if it is a folder.
        weights: a digest that tells a folder from others of its name.
        calibrations: the folder in which they are kept; None keeps none.

    Raises:
        CRDiffError: the pipeline has no UNet that CR-Diff could prune, or there is no such scheduler.
    """

    def __init__(
        self,
        pipe: Any,
        sampling: Sampling,
        name: str,
        sha256: str | None = None,
        weights: str | None = None,
        calibrations: Path | None = None,
    ) -> None:
        with applied(pipe):  # which says what is wrong with the UNet
            family = find_layers(pipe.unet).family
        if sampling.sampler is not None:
            pipe.scheduler = _scheduler(sampling.sampler, pipe.scheduler)
        pipe.set_progress_bar_config(disable=True)
        self.checkpoint = Checkpoint(name, family, sha256)
        kept = None if calibrations is None else Calibrations(calibrations)
        self._pipe, self._sampling, self._weights, self._store = pipe, sampling, weights, Store(calibrations=kept)
        # A folder may be given by another path the next time.
        self._sha256 = sha256 or weights
        self._calibrations = None if kept is None else PipelineCalibrations(pipe, kept, self._sha256)

    @property
    def identity(self) -> Mapping[str, Any]:
        pipe = self._pipe
        return {
            "engine": "diffusers",
            "model": self.checkpoint.key,
            "weights": self._weights,
            "precision": str(pipe.unet.dtype).removeprefix("torch."),
            "scheduler": type(pipe.scheduler).__name__,
            # As texts: some are infinite, which JSON has no number for.
            "scheduler_config": {
                name: str(value) for name, value in pipe.scheduler.config.items() if not name.startswith("_")
            },
            **asdict(self._sampling),
        }

    def check(self, size: Size, settings: Settings) -> None:
        if size.height % 8 or size.width % 8:
            raise SettingsError(f"{size}: diffusers draws sizes whose sides are multiples of 8.")

    def calibration(self, settings: Settings) -> str | None:
        needs = CRITERIA[settings.criterion].needs
        if not settings.enabled or needs is Needs.NOTHING:
            return ""
        found = None if self._calibrations is None else self._calibrations.in_force()
        return found.id if found is not None and meets(found, needs) else None

    def calibrate(self, kept: Kept, should_stop: Callable[[], bool]) -> bool:
        family = self.checkpoint.family
        size = None if family is None else PresetLibrary().native_size(family)
        if size is None or self._calibrations is None:
            raise EvaluationError(f"{self.checkpoint.name} cannot be calibrated: its native size is not known.")
        native, sampling = size, self._sampling
        images = [(text, 1 + place) for place, text in enumerate(islice(cycle(neutral_prompts()), _CALIBRATED_WITH))]
        made = {
            "size": str(size), "prompts": "neutral", "seed": "1", "steps": str(sampling.steps),
            "sampler": type(self._pipe.scheduler).__name__, "cfg scale": f"{sampling.guidance:g}",
        }  # fmt: skip

        def draw(prompt: str, seed: int) -> torch.Tensor:
            latents: torch.Tensor = self._images(prompt, seed, native, output_type="latent")
            return latents

        return self._calibrations.make(kept, images, draw, made, should_stop)

    def draw(self, request: Request) -> Drawn:
        with applied(self._pipe, sha256=self._sha256, store=self._store, **request.settings.to_dict()) as guided:
            image = self._images(request.prompt, request.seed, request.size)[0]
        if guided.refusals:
            raise EvaluationError(guided.refusals[0])
        return Drawn(image, self._infotext(request))

    def _images(self, prompt: str, seed: int, size: Size, **more: Any) -> Any:
        """What a call of the pipeline draws."""
        sampling = self._sampling
        # An empty text is left out, as in the authors' inference: SDXL's negative embeddings are zeros then.
        negative = {"negative_prompt": sampling.negative} if sampling.negative else {}
        return self._pipe(
            prompt,
            height=size.height,
            width=size.width,
            num_inference_steps=sampling.steps,
            guidance_scale=sampling.guidance,
            # Noise of the processor is the same on every machine.
            generator=torch.Generator().manual_seed(seed),
            **negative,
            **more,
        ).images

    def _infotext(self, request: Request) -> str:
        sampling, settings = self._sampling, request.settings
        parts: dict[str, Any] = {
            "Steps": sampling.steps,
            "Sampler": type(self._pipe.scheduler).__name__,
            "CFG scale": sampling.guidance,
            "Seed": request.seed,
            "Size": f"{request.size.width}x{request.size.height}",
            "Model": self.checkpoint.name,
        }
        if settings.enabled:
            # As in a WebUI's infotext, these are told at their defaults too, which an absent key need not stand for.
            own = changed(settings) | {name: getattr(settings, name) for name in (*GROUPS, "k")}
            parts |= {f"CR-Diff {name.replace('_', ' ')}": own[name] for name in own if name != "enabled"}
            parts["CR-Diff version"] = __version__
        negative = f"\nNegative prompt: {sampling.negative}" if sampling.negative else ""
        return f"{request.prompt}{negative}\n" + ", ".join(f"{name}: {value}" for name, value in parts.items())


def load(
    model: Path,
    sampling: Sampling,
    device: str | None = None,
    precision: str | None = None,
    calibrations: Path | None = None,
) -> DiffusersEngine:
    """The engine of a checkpoint: a file, or a folder as diffusers saves pipelines.

    Args:
        model: the file or folder.
        sampling: of all images.
        device: such as ``cuda``; None takes a GPU where there is one.
        precision: ``float16``, ``bfloat16`` or ``float32``; None takes float16 on a GPU and float32 on a processor.
        calibrations: the folder in which they are kept; None keeps none.

    Raises:
        EvaluationError: diffusers is not installed, or the model cannot be loaded.
    """
    if not model.exists():
        raise EvaluationError(f"{model}: there is no such checkpoint.")
    missing = [name for name in ("diffusers", "transformers") if find_spec(name) is None]
    if missing:
        raise EvaluationError(
            f"Drawing without a WebUI needs {' and '.join(missing)}: pip install -e .[evaluate] in CR-Diff's folder, "
            "in an environment of its own, never in a WebUI's."
        )
    place = device or usual_device()
    dtype = getattr(torch, precision or ("float32" if place == "cpu" else "float16"))
    try:
        pipe = _pipeline(model, dtype).to(place)
        if hasattr(pipe, "safety_checker"):
            pipe.safety_checker = None  # black images would be scored like any other
    except CRDiffError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise EvaluationError(
            f"{model.name} cannot be loaded by diffusers ({type(error).__name__}: {reason})."
        ) from error
    if model.is_file():
        return DiffusersEngine(pipe, sampling, model.stem, sha256_of(model), calibrations=calibrations)
    name, weights = model.resolve().name, weights_digest(model)
    return DiffusersEngine(pipe, sampling, name, weights=weights, calibrations=calibrations)


def weights_digest(model: Path) -> str:
    """Differs where the weights of a part of a folder of diffusers do, or are in other files."""
    found = [path for path in sorted(model.glob("*/*")) if path.suffix in (".safetensors", ".bin")]
    weights = [path for path in found if path.parent.name != _UNUSED]
    content = "".join(f"{path.relative_to(model).as_posix()} {sha256_of(path)}\n" for path in weights)
    return hashlib.sha256(content.encode()).hexdigest()[:_DIGITS]


def usual_device() -> str:
    """A GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _pipeline(model: Path, dtype: torch.dtype) -> Any:
    # Imported here: the command line starts without it.
    import diffusers

    if model.is_dir():
        return diffusers.DiffusionPipeline.from_pretrained(str(model), torch_dtype=dtype, local_files_only=True)
    kind = "StableDiffusionXLPipeline" if read_family(model).value == "sdxl" else "StableDiffusionPipeline"
    return getattr(diffusers, kind).from_single_file(str(model), torch_dtype=dtype)


def _scheduler(name: str, present: Any) -> Any:
    """One of diffusers' schedulers, with the settings of the model's own that it shares."""
    import diffusers

    kind: Any = getattr(diffusers, name, None)
    if not name.endswith("Scheduler") or not hasattr(kind, "from_config"):
        raise SettingsError(
            f"diffusers has no scheduler {name!r}; it has EulerDiscreteScheduler, DDIMScheduler and more."
        )
    return kind.from_config(present.config)
