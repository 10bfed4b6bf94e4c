"""CR-Diff in a pipeline of diffusers.

    with crdiff.applied(pipe, preset="auto", k=1.5) as guided:
        image = pipe(prompt, height=400, width=560).images[0]
    print(*guided.report)

Nothing of diffusers is imported; see ``crdiff.guidance.pipeline_hook``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from crdiff.guidance.adapters import AdaptedAccess
from crdiff.guidance.pipeline_hook import PipelineHook
from crdiff.guidance.run import Run
from crdiff.plan import plan_for
from crdiff.presets.library import PresetLibrary
from crdiff.presets.size import Size
from crdiff.pruning.store import Store
from crdiff.settings import Settings


@contextmanager
def applied(
    pipe: Any,
    *,
    sha256: str | None = None,
    library: PresetLibrary | None = None,
    store: Store | None = None,
    **settings: Any,
) -> Iterator[Guided]:
    """Within the block every image of the pipeline is drawn with CR-Diff; after it the UNet is as it was.

    Args:
        pipe: a pipeline with a UNet, such as StableDiffusionXLPipeline.
        sha256: of the checkpoint's file, by which presets are looked up besides the family.
        library: where presets are looked up; None takes the built-in ones.
        store: what criteria have gathered of this pipeline's weights, to go on with in the next block; None forgets it.
        settings: fields of Settings, such as ``preset``, ``down``, ``mid``, ``up``, ``k``, ``mode`` or ``criterion``;
            ratios alone mean ``custom``. ``enabled=False`` leaves the pipeline alone.

    Raises:
        SettingsError: one of the settings cannot be used.
        UnsupportedModelError: the pipeline has no UNet whose layers could be pruned; when its call begins, if the UNet
            has been changed within the block.
    """
    wanted = Settings.from_dict({"enabled": True, **settings})
    guided = Guided(wanted, library, store)
    hook = PipelineHook(pipe, guided.begin, sha256)
    try:
        with hook.installed() if wanted.enabled else nullcontext():
            yield guided
    finally:
        guided.close()


class Guided:
    """The images of one block; see ``applied``, which makes it."""

    def __init__(self, settings: Settings, library: PresetLibrary | None, store: Store | None) -> None:
        self._settings, self._library = settings, library
        self._store = Store() if store is None else store
        self._run: Run | None = None
        self._size: Size | None = None
        self._said: list[str] = []
        self._refused: list[str] = []

    @property
    def report(self) -> tuple[str, ...]:
        """A sentence about every call of the pipeline so far: what it was drawn with, or why it was not."""
        return (*self._said, *self._sentences())

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why calls, or parts of them, were drawn without CR-Diff though it was to act, in sentences."""
        return (*self._refused, *(self._run.refusals if self._run else ()))

    def begin(self, size: Size, access: AdaptedAccess) -> Run:
        """The run of the next image; the one under way ends."""
        self.close()
        self._size = size
        self._run = Run(plan_for(self._settings, size, self._library), access, self._store)
        return self._run

    def close(self) -> None:
        """End the run under way."""
        if self._run is not None:
            self._said += self._sentences()
            self._refused += self._run.refusals
            self._run.close()
            self._run = None

    def _sentences(self) -> list[str]:
        if self._run is None:
            return []
        found = [
            f"{self._size}: {one.family.label}, {one.plan.origin}, down/mid/up {one.ratios}, k {one.plan.k:g}."
            for one in self._run.applied
        ]
        refused = [f"{self._size}: {sentence} Drawn without CR-Diff." for sentence in self._run.refusals]
        adapted = self._run.adapted
        found += [] if adapted is None else [f"{self._size}: {', '.join(adapted.adaptations)}."]
        idle = self._run.inaction
        return found + refused + ([] if idle is None else [f"{self._size}: {idle}"])
