"""The status line: what CR-Diff will do with the selected checkpoint and size, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from crdiff.cost import passes_of
from crdiff.errors import CRDiffError
from crdiff.method.groups import GROUPS
from crdiff.method.schedule import Schedule
from crdiff.models.checkpoint import Checkpoint
from crdiff.models.family import Family
from crdiff.models.scope import RELEASED
from crdiff.plan import Plan, plan_for
from crdiff.presets.library import PresetLibrary
from crdiff.presets.size import Size
from crdiff.pruning.calibrations import Calibrations
from crdiff.pruning.lacking import lacking
from crdiff.settings import Settings
from crdiff.specs import AUTO
from crdiff.webui.markup import few

_WITHOUT = "Images are drawn without CR-Diff."


@dataclass(frozen=True)
class Status:
    """What the user is told.

    Attributes:
        text: one line.
        schedule: the ratios in force; None if there are none.
        k: the amplification in force; None if there is no plan.
        level: ``ok``, ``estimated`` (interpolated ratios) or ``problem`` (drawn without CR-Diff).
    """

    text: str
    schedule: Schedule | None
    k: float | None
    level: str


def describe(
    settings: Settings,
    library: PresetLibrary,
    checkpoint: Checkpoint | None,
    size: Size | None,
    calibrations: Calibrations | None = None,
) -> Status:
    """The status of these settings.

    Args:
        settings: the controls as they stand.
        library: the presets.
        checkpoint: the selected checkpoint, None if there is none.
        size: the size set in the tab, None if it is not known.
        calibrations: that are stored.
    """
    problems = few(library.problems())
    if checkpoint is not None and checkpoint.problem is not None:
        return Status(_join(checkpoint.problem, _WITHOUT, problems), None, None, "problem")
    if checkpoint is None or checkpoint.family is None:
        return _unknown(settings, problems)
    family = checkpoint.family.label
    estimated = False
    try:
        if settings.preset == AUTO:
            estimated = (
                size is None
                or library.match(
                    checkpoint.family, checkpoint.sha256, size, settings.criterion, settings.scope
                ).estimated
            )
        plan = plan_for(settings, size or Size(512, 512), library).make(checkpoint)
    except CRDiffError as problem:
        return Status(_join(_capital(f"{family}: {problem}"), problems), None, None, "problem")
    if checkpoint.sha256 is not None and (lack := lacking(settings.criterion, checkpoint.sha256, calibrations)):
        return Status(_join(f"{_capital(family)}: {lack}", _WITHOUT, problems), None, None, "problem")
    paid = f"{times_text(passes_of(settings, plan, checkpoint.family))} {checkpoint.family.denoiser} time"
    if not settings.enabled:
        paid = f"off; when on, {paid}"
    origin = plan.origin if family in plan.origin else f"{family}: {plan.origin}"
    origin += "" if plan.schedule.is_constant else f", {len(plan.schedule.stages)} stages"
    origin = ", ".join([origin, *plan.adaptations])
    text = _capital(f"{origin}{_second_pass(settings)}; {paid}{_limits(settings, plan)}")
    text = f"{text}." if checkpoint.family.transformer else text
    return Status(
        _join(text, _groups(checkpoint.family, settings), problems),
        plan.schedule,
        plan.k,
        "estimated" if estimated else "ok",
    )


def _groups(family: Family, settings: Settings) -> str:
    """What the three ratios of a transformer are about."""
    if not family.transformer:
        return ""
    empty = [group for group in GROUPS if settings.layers == RELEASED and group not in family.released]
    there = [f"{group}: {what}" for group, what in zip(GROUPS, family.groups) if group not in empty]
    nothing = f" The {settings.layers} layers have none for {' and '.join(empty)}." if empty else ""
    return f"{_capital(', '.join(there))}.{nothing}"


def _second_pass(settings: Settings) -> str:
    """What is done otherwise in the second pass of hires fix."""
    if settings.for_pass(hires_pass=True) is settings or not settings.acts_in(hires_pass=True):
        return ""
    return f", {settings.hires_ratios} in the second pass"


def _limits(settings: Settings, plan: Plan) -> str:
    """Where it has no effect although it is on."""
    if not settings.enabled:
        return ""
    second = settings.for_pass(hires_pass=True)
    own = replace(plan, schedule=second.schedule, k=plan.k if second.k is None else second.k)
    plans = (plan, plan if second is settings else own)
    acting = [plans[hires_pass] for hires_pass in (False, True) if settings.acts_in(hires_pass=hires_pass)]
    empty = settings.window.idle if settings.start >= settings.end else None
    reasons = [reason for one in acting if (reason := empty or one.idle)]
    if len(reasons) == len(acting):
        return f". No effect: {reasons[0][0].lower()}{reasons[0][1:].removesuffix('.')}"
    return ", in the second pass of Hires. fix only" if settings.hires == "second" else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def times_text(times: float) -> str:
    """A cost in UNet passes as users read it, such as ``2.0x``."""
    return f"{times:.2f}".rstrip("0").ljust(3, "0") + "x"


def _unknown(settings: Settings, problems: str) -> Status:
    text = "The model's family is told when it is loaded; ratios are looked up for each image then."
    if settings.preset == AUTO:
        return Status(_join(text, problems), None, None, "ok")
    return Status(_join(text, problems), settings.schedule, settings.k, "ok")


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)
