"""Drawing the same picture by the host alone, with CR-Diff, and with the reference."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from hostkit.checkpoints import Checkpoint
from hostkit.client import Distance, Drawing, Payload, difference, distance
from hostkit.targets import Target

RATIOS: dict[str, Any] = {"down": 0.4, "mid": 0.43, "up": 0.39}
VISIBLE = 6
"""Least largest difference, of 255, by which CR-Diff must change a picture for a comparison to mean anything."""

ROUNDING = 4
"""How many times as far as two images that differ by rounding alone others may be apart that should."""
FAR = 50
"""How many times as far as rounding moved it the host's own image has to be from the reference's."""

BASE: Payload = {
    "prompt": "a photo of a cat",
    "negative_prompt": "",
    "seed": 1,
    "steps": 3,
    "width": 64,
    "height": 64,
    "cfg_scale": 7,
    "sampler_name": "Euler",
    "scheduler": "Simple",
    "save_images": False,
}

Scripts = Mapping[str, list[Any]]
"""Arguments of always-on scripts by title."""


class Studio:
    """Draws with one target."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.client = target.client
        self._plain: dict[str, Drawing] = {}

    def need(self, condition: object, what: str) -> None:
        """Leave a test that this target has not got the means for; the stand-in has to have them all."""
        if condition:
            return
        if self.target.standin:
            pytest.fail(f"the stand-in has no {what}")
        pytest.skip(f"{self.target.name} has no {what}")

    # Drawing

    def draw(self, *, scripts: Mapping[str, list[Any]] | None = None, **payload: Any) -> Drawing:
        alwayson = {name: {"args": args} for name, args in (scripts or {}).items()}
        hires = self.target.hires if payload.get("enable_hr") else {}
        return self.client.draw({**BASE, **hires, **payload, "alwayson_scripts": alwayson})

    def plain(self, **payload: Any) -> Drawing:
        """The host's own picture, drawn once for each request."""
        key = json.dumps([self.client.options(), payload], sort_keys=True)
        if key not in self._plain:
            self._plain[key] = self.draw(**payload)
        return self._plain[key]

    def crdiff(self, settings: Mapping[str, Any], *, scripts: Scripts | None = None, **payload: Any) -> Drawing:
        """With CR-Diff enabled and these settings."""
        return self.draw(scripts={"cr-diff": [{"enabled": True, **settings}], **(scripts or {})}, **payload)

    def reference(self, options: Mapping[str, Any], *, scripts: Scripts | None = None, **payload: Any) -> Drawing:
        """With the reference implementation."""
        return self.draw(scripts={"dual reference": [{"k": 1.5, **options}], **(scripts or {})}, **payload)

    # Comparing

    def assert_same(self, one: Drawing, other: Drawing, tolerance: int = 0) -> None:
        assert len(one.pictures) == len(other.pictures)
        worst = max(difference(mine, theirs) for mine, theirs in zip(one.pictures, other.pictures, strict=True))
        assert worst <= tolerance, f"pictures differ by {worst}/255"

    def assert_reference(
        self,
        mine: Drawing,
        options: Mapping[str, Any],
        *,
        scripts: Scripts | None = None,
        exact: bool | None = None,
        **payload: Any,
    ) -> None:
        """An image is the reference's: to the last bit, or up to rounding.

        Args:
            mine: the image.
            options: of the reference.
            exact: whether to the last bit; as the target allows if None.
            scripts: further scripts that both were drawn with.
            payload: what both were asked for.
        """
        theirs = self.reference(options, scripts=scripts, **payload)
        if self.target.exact if exact is None else exact:
            self.assert_same(mine, theirs)
        elif distance(mine, theirs).largest > 1:
            detours = [self.reference({**options, "detour": way}, scripts=scripts, **payload) for way in (1, -1)]
            self.assert_rounded(mine, theirs, [(theirs, detour) for detour in detours])
            far = distance(theirs, self.draw(scripts=scripts, **payload)).mean
            near = distance(mine, theirs).mean
            assert far > FAR * near, f"a mean difference of {near}/255 could be the method's own, {far}/255"

    def assert_rounded(self, one: Drawing, other: Drawing, alike: Sequence[tuple[Drawing, Drawing]]) -> None:
        """Two drawings differ by rounding alone: by one integer, or not much more than pairs that are known to.

        How far rounding moves an image depends on the sampler and on the processor, so it is measured.
        """
        found = distance(one, other)
        spread = [distance(*pair) for pair in alike]
        allowed = Distance(ROUNDING * max(s.largest for s in spread), ROUNDING * max(s.mean for s in spread))
        assert found.largest <= 1 or found.within(allowed), f"images differ by {found}; rounding allows {allowed}"

    def assert_changed(self, one: Drawing, other: Drawing) -> None:
        """Every picture differs to a degree that a wrong implementation could not hide in."""
        least = min(difference(mine, theirs) for mine, theirs in zip(one.pictures, other.pictures, strict=True))
        assert least >= VISIBLE, f"a picture differs by no more than {least}/255"

    def assert_changed_at_all(self, one: Drawing, other: Drawing) -> None:
        assert difference(one.pictures[0], other.pictures[0]) > 0

    def check(
        self,
        settings: Mapping[str, Any] | None = None,
        *,
        scripts: Scripts | None = None,
        **payload: Any,
    ) -> Drawing:
        """CR-Diff's picture is the reference's, and is not the host's own."""
        settings = {**RATIOS, "k": 1.5, **(settings or {})}
        mine = self.crdiff(settings, scripts=scripts, **payload)
        self.assert_reference(mine, settings, scripts=scripts, **payload)
        plain = self.draw(scripts=scripts, **payload) if scripts else self.plain(**payload)
        self.assert_changed(mine, plain)
        return mine

    # Looking

    def state(self) -> dict[str, Any]:
        """What a generation has to leave as it was."""
        state: dict[str, Any] = self.client.get("/crdiff-test/v1/state")
        return state

    def unet_calls(self) -> int:
        """UNet calls of the last run that had the counting script on."""
        calls: int = self.client.get("/crdiff-test/v1/calls")["calls"]
        return calls

    def assert_state(self, expected: Mapping[str, Any]) -> None:
        state = self.state()
        changed = {key: (value, state[key]) for key, value in expected.items() if state[key] != value}
        assert not changed, changed

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Whatever is drawn inside, the host's picture, its weights and its hooks are the same afterwards."""
        before, state = self.draw(), self.state()
        yield
        after = self.draw()
        self.assert_same(before, after)
        self.assert_state(state)
        assert "CR-Diff" not in after.infotext

    # Checkpoints

    def checkpoint(self, **wanted: Any) -> Checkpoint:
        """The first checkpoint with these attributes."""
        found = self.checkpoints(**wanted)
        self.need(found, "checkpoint with " + ", ".join(f"{name} {value}" for name, value in wanted.items()))
        return found[0]

    def checkpoints(self, **wanted: Any) -> list[Checkpoint]:
        return [c for c in self.target.checkpoints if all(getattr(c, name) == value for name, value in wanted.items())]

    def other_modules(self) -> Checkpoint:
        """A checkpoint that does not share the modules of the first one: a switch to it and back makes new ones."""
        first = self.checkpoint(layout="sd15", inpainting=False)
        found = [c for c in self.checkpoints(layout="sd15") if c.title != first.title]
        apart = [c for c in found if c.config != first.config]
        self.need(apart or (self.target.forge and found), "checkpoint of another configuration")
        return (apart or found)[0]

    @contextmanager
    def on(self, checkpoint: Checkpoint) -> Iterator[None]:
        """The WebUI uses this checkpoint."""
        with self.on_title(checkpoint.title):
            yield

    @contextmanager
    def on_title(self, title: str) -> Iterator[None]:
        """The WebUI uses the checkpoint of this title."""
        with self.client.option("sd_model_checkpoint", title):
            yield
