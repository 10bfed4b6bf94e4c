"""From the settings to the plan: what CR-Diff does with one model at one size."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from crdiff.errors import PresetError
from crdiff.method.attention_scale import AttentionScale
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Schedule, StepWindow
from crdiff.models.checkpoint import Checkpoint
from crdiff.models.family import OTHER, Family
from crdiff.models.scope import Scope
from crdiff.modes.registry import DEFAULT_MODE
from crdiff.presets.library import PresetLibrary
from crdiff.presets.size import Size
from crdiff.pruning.registry import DEFAULT_CRITERION
from crdiff.settings import Settings
from crdiff.specs import AUTO, CUSTOM, DEFAULT_K, NATIVE


@dataclass(frozen=True)
class Plan:
    """What CR-Diff does with a model at a size.

    Attributes:
        schedule: the pruning ratios over the steps.
        k: amplification (paper eq. 2) in the stages that have none of their own; 0 is dense only, 1 pruned only.
        origin: where the ratios come from, as a phrase for the user.
        attention: how self-attention is scaled, with the native size; None if it is not.
        told: the size that the model is told in place of the image's own; None leaves it what it is told.
    """

    schedule: Schedule
    k: float
    origin: str
    attention: AttentionScale | None = None
    told: Size | None = None

    @property
    def adaptations(self) -> tuple[str, ...]:
        """What is done beside pruning, as phrases for the user."""
        scaled = () if self.attention is None else (self.attention.phrase,)
        return scaled if self.told is None else (*scaled, f"told the size {self.told}{self.told.order}")

    def at(self, fraction: float) -> tuple[Ratios, float]:
        """The ratios and k in force at this progress, in [0, 1)."""
        stage = self.schedule.at(fraction)
        return stage.ratios, self.k if stage.k is None else stage.k

    def by_hand(self, settings: Settings) -> Settings:
        """The settings with this plan's ratios and k in place of a preset."""
        return replace(settings, preset=CUSTOM, k=self.k, stages=str(self.schedule))

    @property
    def idle(self) -> str | None:
        """Why an image drawn by this plan is the dense model's, as a sentence; None if it is not."""
        return None if self.adaptations else idle(self.schedule, self.k)


@dataclass(frozen=True)
class Planner:
    """Makes the plan once the model is known; what does not depend on the model is known before.

    Attributes:
        make: the plan for a checkpoint, whose family is known. Raises CRDiffError if there is none.
        window: the part of the steps to act in.
        mode: how a step is computed, a name in ``MODES``.
        criterion: what decides which weights are pruned, a name in ``CRITERIA``.
        scope: which layers are pruned, and what shares a threshold.
    """

    make: Callable[[Checkpoint], Plan]
    window: StepWindow = StepWindow()  # noqa: RUF009 (frozen)
    mode: str = DEFAULT_MODE
    criterion: str = DEFAULT_CRITERION
    scope: Scope = Scope()  # noqa: RUF009 (frozen)

    @classmethod
    def fixed(
        cls,
        plan: Plan,
        mode: str = DEFAULT_MODE,
        criterion: str = DEFAULT_CRITERION,
        scope: Scope = Scope(),  # noqa: B008 (frozen)
    ) -> Planner:
        """The same plan for every model."""
        return cls(lambda checkpoint: plan, mode=mode, criterion=criterion, scope=scope)


def idle(schedule: Schedule, k: float) -> str | None:
    """Why an image with these ratios and this k is the dense model's, as a sentence; None if it is not."""
    stages = schedule.with_k(k).stages
    if all(stage.k == 0.0 for stage in stages):
        return "k is 0, which is the dense model alone."
    if not any(any(stage.ratios) for stage in stages):
        return "All ratios are 0, so there is nothing to prune."
    if not any(stage.k and any(stage.ratios) for stage in stages):
        return "In every stage k or all ratios are 0, so there is nothing to prune."
    return None


def plan_for(settings: Settings, size: Size, library: PresetLibrary | None = None) -> Planner:
    """The planner of these settings for images, or a pass, of this size.

    Args:
        settings: what the user wants.
        size: in pixels.
        library: where presets are looked up; None takes the built-in ones.
    """
    library = PresetLibrary() if library is None else library

    def make(checkpoint: Checkpoint) -> Plan:
        return _plan(settings, size, library, checkpoint)

    return Planner(make, settings.window, settings.mode, settings.criterion, settings.scope)


def _plan(settings: Settings, size: Size, library: PresetLibrary, checkpoint: Checkpoint) -> Plan:
    family = OTHER if checkpoint.family is None else checkpoint.family
    if settings.preset == CUSTOM:
        schedule, k, origin = settings.schedule, None, _custom_origin(settings, size, library, checkpoint)
    elif settings.preset == AUTO:
        match = library.match(family, checkpoint.sha256, size, settings.criterion, settings.scope)
        schedule, k, origin = match.schedule, match.k, match.describe()
    else:
        preset = library.named(settings.preset)
        if preset.criterion != settings.criterion:
            raise PresetError(
                f"The ratios of preset {preset.name} were found for the criterion {preset.criterion}, not for "
                f"{settings.criterion}: choose that criterion, Auto or Custom."
            )
        if preset.scope != settings.scope.within(preset.family):
            raise PresetError(
                f"The ratios of preset {preset.name} were found for {preset.scope}, not for "
                f"{settings.scope.within(preset.family)}: choose those, Auto or Custom."
            )
        schedule, k, origin = preset.schedule, preset.k, f"preset {preset.name}"
        if preset.family != family:
            origin += f", which was made for {preset.family.label}"
    used = next(one for one in (settings.k, k, DEFAULT_K) if one is not None)
    return Plan(schedule, used, origin, _attention(settings, library, family), _told(settings, size, library, family))


def _attention(settings: Settings, library: PresetLibrary, family: Family) -> AttentionScale | None:
    """The attention scale with the size that the family was trained at.

    Raises:
        PresetError: it cannot be scaled, or the size is not known.
    """
    scale = settings.attention
    if scale is None:
        return None
    if family.transformer:
        raise PresetError("The attention scale is for UNets, not for transformers: switch it off.")
    if scale.factor is not None or scale.native is not None:
        return scale
    native = library.native_size(family)
    if native is None:
        raise PresetError("The size this model was trained at is not known: write the attention scale as auto 512x512.")
    return replace(scale, native=(native.height, native.width))


def _told(settings: Settings, size: Size, library: PresetLibrary, family: Family) -> Size | None:
    """What the model is told of the size; None where that is the size it is told anyway.

    Raises:
        PresetError: the model is told none.
    """
    if settings.size_conditioning != NATIVE:
        return None
    native = library.native_size(family)
    if not family.told_sizes or native is None:
        raise PresetError("The size conditioning is for SDXL only: switch it off.")
    told = native.with_aspect(size)
    return None if told == size else told


def _custom_origin(settings: Settings, size: Size, library: PresetLibrary, checkpoint: Checkpoint) -> str:
    """Ratios set by hand; those that Auto would find, as after pasting its image, keep their source."""
    origin = "custom ratios"
    if checkpoint.family is not None:
        with suppress(PresetError):
            match = library.match(checkpoint.family, checkpoint.sha256, size, settings.criterion, settings.scope)
            origin += f", as Auto finds them ({match.describe()})" if match.schedule == settings.schedule else ""
    return origin
