"""CR-Diff in one of the host's jobs: from the settings to the hook around each sampler call."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from crdiff.errors import SettingsError
from crdiff.guidance.graphs import CudaBackend
from crdiff.guidance.run import Run
from crdiff.method.schedule import Position
from crdiff.patching import Original, Patch
from crdiff.plan import plan_for
from crdiff.presets.library import PresetLibrary
from crdiff.presets.size import Size
from crdiff.pruning.store import Store
from crdiff.settings import AUTO, CUSTOM, DEFAULT_K, Settings
from crdiff.webui import infotext, options
from crdiff.webui.hosts.base import DenoiserHook, select_host

_log = logging.getLogger("crdiff")

LATENT_SCALE = 8
"""Pixels to one latent cell, for every model family CR-Diff supports."""


@dataclass(frozen=True)
class ActivePass:
    """A sampler call under way."""

    denoiser: Any
    run: Run
    hook: DenoiserHook

    def on_denoiser(self, denoiser: Any, total_steps: int) -> None:
        """The host's CFGDenoiser is about to call the UNet."""
        if denoiser is not self.denoiser:
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
        # A name that does not exist is an error before anything is drawn.
        library.named(settings.preset)
    return settings


class Generation:
    """One job of the host (one processing object), with CR-Diff enabled.

    Args:
        settings: what the user asked for.
        library: where presets are looked up.
        store: what criteria have gathered of weights seen before.
        slot: where the per-step callback looks.
    """

    def __init__(self, settings: Settings, library: PresetLibrary, store: Store, slot: ActiveSlot) -> None:
        self._settings = settings
        self._library = library
        self._store = store
        self._slot = slot
        self._attached: Patch | None = None

    def note_settings(self, p: Any) -> None:
        """Write the settings into the job's infotext."""
        infotext.write_settings(p.extra_generation_params, self._settings, self._k)

    @property
    def _k(self) -> float:
        return DEFAULT_K if self._settings.k is None else self._settings.k

    def _does_nothing(self) -> bool:
        """Settings under which every step is the host's own."""
        custom_zero = self._settings.preset == CUSTOM and not any(self._settings.ratios)
        return self._settings.k == 0.0 or custom_zero or self._settings.start >= self._settings.end

    def before_sampling(self, p: Any, latent: Any) -> None:
        """The host is about to sample one pass: wrap that one call of its sampler.

        Hosts may announce a pass twice, and img2img reuses its sampler from batch to batch.

        Args:
            p: the host's processing object.
            latent: the pass's latent, (batch, channels, height / 8, width / 8).
        """
        self._detach()
        hires_pass = bool(getattr(p, "is_hr_pass", False))
        if self._does_nothing() or not self._settings.acts_in(hires_pass=hires_pass):
            return
        size = Size(int(latent.shape[-2]) * LATENT_SCALE, int(latent.shape[-1]) * LATENT_SCALE)
        sampler = p.sampler

        def launch_sampling(original: Original, *args: Any, **kwargs: Any) -> Any:
            self._detach()
            with self._sampling(p, sampler, size, hires_pass):
                return original(*args, **kwargs)

        self._attached = Patch(sampler, "launch_sampling", launch_sampling)

    def _detach(self) -> None:
        if self._attached is not None:
            self._attached.remove()
            self._attached = None

    @contextmanager
    def _sampling(self, p: Any, sampler: Any, size: Size, hires_pass: bool) -> Iterator[None]:
        from modules import shared

        host = select_host(shared.sd_model)
        planner = plan_for(self._settings, size, self._library)
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
            self._report(p, run, hires_pass)

    def _report(self, p: Any, run: Run, hires_pass: bool) -> None:
        params = p.extra_generation_params
        infotext.write_applied(params, run.applied, hires_pass=hires_pass)
        infotext.write_graphs(params, run.replayed)
        if run.refusals:
            infotext.write_note(params, " ".join(run.refusals))
        for reason in run.refusals:
            p.comment(reason)


def refuse(p: Any, error: SettingsError) -> None:
    """Make the job fail with ``error``, as the API's answer or the UI's error message.

    Hosts swallow what a script's own methods raise and would draw an image as if nothing had been asked for, so the
    error is raised where the host calls the sampler.
    """

    def sample(*args: Any, **kwargs: Any) -> Any:
        raise error

    p.sample = sample
