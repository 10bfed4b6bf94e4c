"""Every setting as it is shown, and what it may be: one table behind the UI, the API, the XYZ axes and the infotext."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from crdiff.method import attention_scale
from crdiff.method.attention_scale import OFF
from crdiff.method.groups import GROUPS
from crdiff.method.schedule import EXAMPLE, MAX_K, MAX_STAGES, MIN_K
from crdiff.models.scope import LAYER_SETS, THRESHOLDS
from crdiff.modes.registry import MODES
from crdiff.pruning.registry import CRITERIA

AUTO = "auto"
CUSTOM = "custom"
DEFAULT_K = 1.5
MAX_RATIO = 0.999
"""The end of a slider for a ratio; the ratios themselves may be anything in [0, 1)."""
NATIVE = "native"
"""Of the size conditioning: SDXL is told sizes of the area that it was trained at."""
SCHEDULES = ("hires_ratios", "stages")
"""The settings that hold a schedule in text, or nothing."""
BY_HAND = (*GROUPS, *SCHEDULES)
"""The settings that only ``custom`` takes."""


@dataclass(frozen=True)
class Spec:
    """How one setting is shown and what it may be.

    Attributes:
        label: its name in the UI; stable, because hosts key saved defaults by it.
        help: what it does and what it costs, in one or two sentences.
        low: least number.
        high: largest number.
        step: step of a slider.
        offered: what a choice may be, by name; a registry, which may grow.
    """

    label: str
    help: str
    low: float = 0.0
    high: float = 1.0
    step: float = 0.001
    offered: Collection[str] = ()

    @property
    def choices(self) -> tuple[str, ...]:
        """The possible values of a choice; empty for other settings."""
        return tuple(self.offered)


_RATIO_HELP = (
    "Share of the self-attention and feed-forward weights left out in the {} of the UNet, the smallest first, in "
    "[0, 1). In a transformer: {} of the blocks; in Flux: {}. 0 prunes nothing here. Moving it switches to Custom."
)

SPECS: Mapping[str, Spec] = {
    "enabled": Spec("Enable CR-Diff", "Draw with the dual pass. Off, the image and its time are the host's own."),
    "preset": Spec(
        "Preset",
        "Auto looks the ratios up for the checkpoint and the size of each pass; Custom takes the sliders; the others "
        "are tables from the paper and your own. Sizes are height x width, the other way round than the host's.",
    ),
    "down": Spec("Down ratio", _RATIO_HELP.format("down blocks", "first third", "double blocks"), high=MAX_RATIO),
    "mid": Spec(
        "Mid ratio", _RATIO_HELP.format("mid block", "middle third", "half of the single blocks"), high=MAX_RATIO
    ),
    "up": Spec("Up ratio", _RATIO_HELP.format("up blocks", "last third", "the other half"), high=MAX_RATIO),
    "k": Spec(
        "Amplification k",
        "z = k * pruned + (1 - k) * dense, where dense is the model as it is. Above 1 it steers past the pruned model, "
        "away from the dense one; below 0 it steers away from the pruned model (the direction of AutoGuidance). At 0 "
        "(dense only) and 1 (pruned only) one UNet pass a step is enough.",
        low=MIN_K,
        high=MAX_K,
        step=0.05,
    ),
    "start": Spec("Start", "Fraction of the steps from which CR-Diff acts. A step before it costs 1.0x.", step=0.01),
    "end": Spec("End", "Fraction of the steps up to which CR-Diff acts. A step after it costs 1.0x.", step=0.01),
    "hires": Spec(
        "Passes of Hires. fix",
        "The passes CR-Diff acts in when Hires. fix is on. Auto looks each pass up by its own size.",
        offered=("both", "first", "second"),
    ),
    "mode": Spec(
        "Mode",
        " ".join(f"{name.capitalize()}: {mode.help}" for name, mode in MODES.items())
        + " How near fast and balanced come has been measured on a small model only, not on SDXL.",
        offered=MODES,
    ),
    "criterion": Spec(
        "Criterion",
        "What the pruned pass leaves out or weakens. "
        + " ".join(f"{name.capitalize()}: {kind.help}" for name, kind in CRITERIA.items()),
        offered=CRITERIA,
    ),
    "hires_ratios": Spec(
        "Ratios of the hires pass",
        "Custom's ratios in the second pass of Hires. fix: down/mid/up, such as 0.3/0.34/0.3, with a k of its own as a "
        "fourth number, or stages. Empty: as in the first pass. Pasting an image that Auto has drawn fills it.",
    ),
    "layers": Spec(
        "Layers of a transformer",
        "What is pruned of Flux, SD3 and other transformers; a UNet has no choice. "
        + " ".join(f"{name.capitalize()}: {help}" for name, help in LAYER_SETS.items()),
        offered=LAYER_SETS,
    ),
    "threshold": Spec(
        "Threshold",
        "Which weights the criteria magnitude and soft compare with one another. "
        + " ".join(f"{name.capitalize()}: {help}" for name, help in THRESHOLDS.items()),
        offered=THRESHOLDS,
    ),
    "stages": Spec(
        "Stages",
        f"Ratios that change over the steps, for Custom, such as {EXAMPLE}: down/mid/up and, where it differs, k; from "
        f"the second stage on with the fraction of the steps where it begins. At most {MAX_STAGES}. They cost hardly "
        "anything. The sliders then show and change the stage that is chosen in the diagram. Empty: the sliders' "
        "ratios.",
    ),
    "attention_scale": Spec(
        "Attention scale",
        "Scales the self-attention of a UNet by sqrt(log N / log T), N its tokens and T those at the size it was "
        "trained at (Jin et al. 2023). Auto knows that size by the model's family; another is written as auto 768x768 "
        "(height x width), and a number is a factor for all layers. It costs nothing, and acts without pruning too.",
        low=attention_scale.LOW,
        high=attention_scale.HIGH,
    ),
    "size_conditioning": Spec(
        "Size conditioning",
        "SDXL is told the size of an image beside the prompt. Native tells it, as original and as wanted size, one of "
        "the area that it was trained at with about the same aspect, whatever the image's own. It costs nothing, acts "
        "without pruning too, and is for SDXL only.",
        offered=(OFF, NATIVE),
    ),
}
