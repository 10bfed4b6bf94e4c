"""What is measured, and how it is read off the command line's words."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from crdiff.bench.random_model import PUBLISHED, check_size
from crdiff.checks import choice
from crdiff.errors import SettingsError
from crdiff.method.groups import Ratios
from crdiff.models.family import Family
from crdiff.models.scope import Scope
from crdiff.presets.size import Size
from crdiff.pruning.registry import DEFAULT_CRITERION
from crdiff.specs import SPECS

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Options:
    """What is measured.

    Attributes:
        family: one of ``PUBLISHED``.
        size: image size in pixels.
        dtype: of weights and activations.
        device: cpu or cuda.
        scale: width of the model as a share of the family's, in (0, 1].
        rounds: how often everything is timed; None for as often as fits into about half a minute.
        ratios: the pruning ratios.
        k: amplification.
        criterion: what decides which weights are pruned.
        scope: which layers are pruned, and what shares a threshold.
    """

    family: Family
    size: Size
    dtype: torch.dtype
    device: torch.device
    scale: float
    rounds: int | None
    ratios: Ratios
    k: float
    criterion: str = DEFAULT_CRITERION
    scope: Scope = Scope()  # noqa: RUF009 (frozen)

    @property
    def described(self) -> str:
        """In words, the criterion left out."""
        scope = f", {self.scope}" if self.family.transformer else ""
        return (
            f"{self.family.label} at {self.scale:g} of its width, {self.size} (height x width), "
            f"{str(self.dtype).removeprefix('torch.')}, {self.device}, {torch.get_num_threads()} threads, torch "
            f"{torch.__version__}; random weights, ratios {self.ratios}, k {self.k:g}{scope}"
        )


def parse_options(
    *,
    family: str,
    size: str,
    dtype: str | None,
    device: str,
    scale: str | None,
    rounds: str | None,
    ratios: str,
    k: str,
    criterion: str = DEFAULT_CRITERION,
    layers: str = Scope.layers,
    threshold: str = Scope.threshold,
) -> Options:
    """Options from words.

    Raises:
        CRDiffError: one of them cannot be used; the sentence says which.
    """
    where = parse_device(device)
    if dtype is None:
        dtype = "float32" if where.type == "cpu" else "float16"
    families = {known.value: known for known in PUBLISHED}
    chosen = families[choice("The family", family, families)]
    published = PUBLISHED[chosen]
    found = Options(
        chosen,
        check_size(Size.parse(size), published.multiple),
        DTYPES[choice("The dtype", dtype, DTYPES)],
        where,
        published.scale if scale is None else parse_number("scale", scale),
        None if rounds is None else parse_rounds(rounds),
        Ratios.parse(ratios),
        parse_number("k", k),
        choice("The criterion", criterion, SPECS["criterion"].choices),
        Scope(
            choice("The layers", layers, SPECS["layers"].choices),
            choice("The threshold", threshold, SPECS["threshold"].choices),
        ),
    )
    if not 0.0 < found.scale <= 1.0:
        raise SettingsError(f"The scale must lie in (0, 1], not {found.scale:g}.")
    if 0.0 in found.ratios or found.k in (0.0, 1.0):
        raise SettingsError("The benchmark needs ratios above 0, and a k that takes both passes (not 0 or 1).")
    return found


def parse_number(name: str, text: str) -> float:
    """A finite number; raises SettingsError otherwise."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise SettingsError(f"{name} must be a number, not {text!r}.")
    return number


def parse_device(text: str) -> torch.device:
    """A device that is there and whose memory can be watched; raises SettingsError otherwise."""
    try:
        device = torch.device(text)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ValueError):
        raise SettingsError(f"This PyTorch ({torch.__version__}) has no device {text!r} here.") from None
    if device.type not in ("cpu", "cuda"):
        raise SettingsError(f"The benchmark runs on cpu or cuda, not on {text!r}.")
    return device


def parse_rounds(text: str) -> int:
    """A number of rounds; raises SettingsError otherwise."""
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise SettingsError(f"The rounds must be a whole number from 1 to 1000, not {text!r}.")
    return int(text)
