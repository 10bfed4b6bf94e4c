"""The checkpoint family, which decides what preset table applies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A family of checkpoints that share one layout. A fine-tune belongs to the family of its base model.

    Attributes:
        value: its key in files and in the API.
        label: the name users know it by.
        denoiser: what its denoiser is, ``UNet`` or ``transformer``.
        groups: what the groups down, mid and up stand for.
        first_guess: the ratio that is taken, and that a search starts from, where no ratios are known.
        native: (height, width) in pixels that it was trained at, where no preset tells.
        shared: the part of a pass, by FLOPs, that two passes have in common where the ratio down is 0, and where that
            of mid is 0 too; of the published UNets and sizes it is 0.32 to 0.36 and 0.39 to 0.48.
        released: the groups of which the authors' code prunes layers.
        told_sizes: whether the model is told the sizes of an image beside the text.
    """

    value: str
    label: str
    denoiser: str = "UNet"
    groups: tuple[str, str, str] = ("down blocks", "mid block", "up blocks")
    first_guess: float = 0.3
    native: tuple[int, int] | None = None
    shared: tuple[float, float] = (0.33, 0.4)
    released: tuple[str, ...] = ("down", "mid", "up")
    told_sizes: bool = False

    @property
    def transformer(self) -> bool:
        """Whether its denoiser is a diffusion transformer."""
        return self.denoiser == "transformer"


OTHER = Family("other", "unknown model family")
"""Of a model that can be pruned, but for which there are no presets."""


def transformer_family(
    value: str, label: str, groups: tuple[str, str, str] | None = None, released: tuple[str, ...] = Family.released
) -> Family:
    """A family of diffusion transformers. No ratios have been published for any, so the first guess is a cautious one.

    Args:
        value: see Family, as the others.
        label: of it.
        groups: of it; None for thirds of the blocks.
        released: of it.
    """
    named = ("first third of the blocks", "middle third", "last third") if groups is None else groups
    return Family(
        value,
        label,
        "transformer",
        named,
        first_guess=0.1,
        native=(1024, 1024),
        shared=(1 / 3, 2 / 3),
        released=released,
    )
