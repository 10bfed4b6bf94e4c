"""CR-Diff in one of the host's jobs: from the settings to the hook around each sampler call."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from crdiff.calibration.run import CalibrationRun
from crdiff.errors import SettingsError
from crdiff.guidance.capture import CudaBackend
from crdiff.guidance.run import Run
from crdiff.method.schedule import Position
from crdiff.patching import Original, Patch
from crdiff.plan import Planner, idle, plan_for
from crdiff.presets.library import PresetLibrary
from crdiff.presets.size import Size
from crdiff.pruning.store import Store
from crdiff.settings import Settings
from crdiff.specs import AUTO, CUSTOM, DEFAULT_K
from crdiff.webui import infotext, options
from crdiff.webui.hosts.base import DenoiserHook, select_host
from crdiff.webui.infotext import Outcome

_log = logging.getLogger("crdiff")

_NO_SECOND_PASS = "CR-Diff is set to act in the second pass of Hires. fix only, and there was none."
_NO_PASS = "Another extension drew the image by itself, without the host's sampler."

_FEW_STEPS = 8
_FEW_STEPS_RATIO = 0.1

LATENT_SCALE = 8
"""Pixels to one latent cell, for every model family CR-Diff supports."""


@dataclass(frozen=True)
class ActivePass:
    """A sampler call under way.

    Attributes:
        denoiser: the sampler's; None stands for any.
        run: follows it.
        hook: connects it with the model.
    """

    denoiser: Any
    run: Run | CalibrationRun
    hook: DenoiserHook

    def on_denoiser(self, denoiser: Any, total_steps: int) -> None:
        """The host's CFGDenoiser is about to call the UNet."""
        if self.denoiser is not None and denoiser is not self.denoiser:
            return
        total = getattr(denoiser, "total_steps", None) or total_steps
        self.run.position = Position(int(denoiser.step), int(total))
        self.hook.on_denoiser(denoiser)


class ActiveSlot:
    """Where the host's per-step callback finds the sampler call under way; jobs run one at a time."""

    def __init__(self) -> None:
        self.current: ActivePass | None = None


def read_settings(args: tuple[Any, ...], overrides: Mapping[str, Any], library: PresetLibrary) -> Settings:
    """The settings of a job.

    Args:
        args: the script's arguments.
        overrides: values set by an XYZ plot's axes.
        library: to check a preset's name against.

    Raises:
        SettingsError: naming what cannot be used.
    """
    settings = Settings.from_args(args)
    if overrides:
        settings = replace(settings, **overrides)
    if settings.enabled and settings.preset not in (AUTO, CUSTOM):
        # A name that does not exist is an error before anything is drawn; one that does is written as it is saved.
        preset = library.named(settings.preset)
        settings = replace(settings, preset=preset.name, k=preset.k if settings.k is None else settings.k)
    return settings


class Generation:
    """One job of the host (one processing object), with CR-Diff enabled.

    Args:
        settings: what the user asked for.
        library: where presets are looked up.
        store: what criteria have gathered of weights seen before.
        slot: where the per-step callback looks.
        remark: a sentence on the settings, for the infotext; empty if there is nothing to say.
    """

    def __init__(
        self, settings: Settings, library: PresetLibrary, store: Store, slot: ActiveSlot, remark: str = ""
    ) -> None:
        self._settings = settings
        self._library = library
        self._store = store
        self._slot = slot
        self._remark = remark
        self._attached: Patch | None = None
        self._passes: dict[bool, Outcome] = {}

    def note_settings(self, p: Any) -> None:
        """Write the settings into the job's infotext."""
        infotext.write(p.extra_generation_params, self._settings, {}, self._remark)
        _tell(p, self._remark)

    def before_sampling(self, p: Any, latent: Any) -> None:
        """The host is about to sample one pass: wrap that one call of its sampler.

        Hosts may announce a pass twice, and img2img reuses its sampler from batch to batch.

        Args:
            p: the host's processing object.
            latent: the pass's latent, (batch, channels, height / 8, width / 8).
        """
        self._detach()
        hires_pass = bool(getattr(p, "is_hr_pass", False))
        if not hires_pass:
            self._passes = {}
        if not self._settings.acts_in(hires_pass=hires_pass):
            return
        settings = self._settings.for_pass(hires_pass=hires_pass)
        if (reason := self._idle(settings)) is not None:
            self._report(p, hires_pass, Outcome(reason=reason))
            return
        size = Size(int(latent.shape[-2]) * LATENT_SCALE, int(latent.shape[-1]) * LATENT_SCALE)
        sampler = p.sampler

        def launch_sampling(original: Original, *args: Any, **kwargs: Any) -> Any:
            self._detach()
            with self._sampling(p, sampler, plan_for(settings, size, self._library), hires_pass):
                return original(*args, **kwargs)

        self._attached = Patch(sampler, "launch_sampling", launch_sampling)

    def after_batch(self, p: Any) -> None:
        """The images of a batch are drawn, and the host is about to write their infotexts."""
        self._detach()
        if not self._passes:
            reason = _NO_SECOND_PASS if self._settings.hires == "second" else _NO_PASS
            remark = " ".join(filter(None, [self._remark, reason]))
            infotext.write(p.extra_generation_params, self._settings, self._passes, remark)
            _tell(p, reason)

    def _idle(self, settings: Settings) -> str | None:
        """Why these settings draw the host's own image whatever the model; None if they may do more."""
        if settings.start >= settings.end:
            return settings.window.idle
        if settings.adapts:
            return None
        own_k = settings.preset != CUSTOM and any(one.schedule.has_own_k for one in self._library.presets())
        if settings.preset == CUSTOM or (settings.k == 0.0 and not own_k):
            return idle(settings.schedule, DEFAULT_K if settings.k is None else settings.k)
        return None

    def _detach(self) -> None:
        if self._attached is not None:
            self._attached.remove()
            self._attached = None

    @contextmanager
    def _sampling(self, p: Any, sampler: Any, planner: Planner, hires_pass: bool) -> Iterator[None]:
        from modules import shared

        host = select_host(shared.sd_model)
        backend = CudaBackend() if options.graphs() else None
        run = Run(planner, host.access(), self._store, host.copy_policy(options.copy_policy()), backend)
        outer = self._slot.current
        try:
            with host.hooked(run) as hook:
                self._slot.current = ActivePass(sampler.model_wrap_cfg, run, hook)
                yield
        finally:
            self._slot.current = outer
            run.close()
            reasons = [run.inaction or " ".join(run.refusals), _few_steps(run)]
            reason = " ".join(filter(None, reasons))
            self._report(p, hires_pass, Outcome(run.applied, reason, bool(run.refusals), run.replayed, run.adapted))

    def _report(self, p: Any, hires_pass: bool, outcome: Outcome) -> None:
        self._passes[hires_pass] = outcome
        infotext.write(p.extra_generation_params, self._settings, self._passes, self._remark)
        _tell(p, outcome.reason)


def _tell(p: Any, sentence: str) -> None:
    """Show a sentence below the image."""
    if sentence:
        p.comment(sentence if sentence.startswith("CR-Diff") else f"CR-Diff: {sentence}")


def _few_steps(run: Run) -> str:
    """A warning where a transformer drew in as few steps as distilled ones take; empty if it did not."""
    steps = run.position.total
    large = [one for one in run.applied if one.family.transformer and max(one.ratios) > _FEW_STEPS_RATIO]
    if steps > _FEW_STEPS or not large:
        return ""
    return f"Models for few steps, such as schnell and turbo, stand ratios up to {_FEW_STEPS_RATIO:g} only."


def refuse(p: Any, error: SettingsError) -> None:
    """Make the job fail with ``error``, as the API's answer or the UI's error message.

    Hosts swallow what a script's own methods raise and would draw an image as if nothing had been asked for, so the
    error is raised where the host calls the sampler.
    """

    def sample(*args: Any, **kwargs: Any) -> Any:
        raise refusal(p, error)

    p.sample = sample


def refusal(p: Any, error: SettingsError) -> Exception:
    """What to raise of ``error`` in a job: for the API an HTTPException, of which it prints no traceback."""
    if not getattr(p, "is_api", False):
        return error
    from fastapi import HTTPException  # which a host without its API need not have loaded

    _log.warning("%s", error.detail.removeprefix("CR-Diff: "))
    return HTTPException(error.status_code, error.detail)
