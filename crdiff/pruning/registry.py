"""The criteria by name, in the order in which users see them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crdiff.method.groups import Ratios
    from crdiff.models.family import Family
    from crdiff.pruning.criterion import Criterion
    from crdiff.pruning.store import Store, WeightsState

CriterionMaker = Callable[["WeightsState", "Store"], "Criterion"]
"""Makes a criterion for a state of the weights, with the store that keeps what criteria have gathered. Raises
CRDiffError if something is missing without which it cannot decide, such as a calibration."""


class Needs(Enum):
    """What a criterion has to know beside the weights."""

    NOTHING = "nothing"
    CALIBRATION = "a calibration"
    HESSIANS = "a calibration with Hessians"
    WHOLE_HESSIANS = "a calibration with whole Hessians"
    GRADIENTS = "a calibration with gradients"


@dataclass(frozen=True)
class CriterionKind:
    """A criterion as users choose it.

    Attributes:
        help: what it does, in one sentence for users.
        make: makes one.
        needs: what it has to know beside the weights.
        saves: the part of a pruned pass that ratios save in a model of a family, about.
    """

    help: str
    make: CriterionMaker
    needs: Needs = Needs.NOTHING
    saves: Callable[[Family, Ratios], float] = lambda family, ratios: 0.0


def _later(module: str, name: str, /, **options: Any) -> CriterionMaker:
    """A maker whose module is imported when it is used: settings name criteria without importing torch."""

    def make(state: WeightsState, store: Store) -> Criterion:
        criterion: Criterion = getattr(import_module(f"crdiff.pruning.{module}"), name)(state, store, **options)
        return criterion

    return make


def _saved_by_blocks(family: Family, ratios: Ratios) -> float:
    from crdiff.pruning.layer_drop import saves  # as above

    return saves(family, ratios)


DEFAULT_CRITERION = "magnitude"
CRITERIA: dict[str, CriterionKind] = {
    DEFAULT_CRITERION: CriterionKind(
        "leaves out the smallest weights of the down, mid and up blocks, the paper's way.",
        _later("magnitude", "MagnitudeCriterion"),
    ),
    "attenuation": CriterionKind(
        "leaves nothing out but weakens self-attention and feed-forward by the ratio, which costs no time of its own.",
        _later("attenuation", "AttenuationCriterion"),
    ),
    "attenuation-outputs": CriterionKind(
        "the same for the last layer of each self-attention and feed-forward only.",
        _later("attenuation", "AttenuationCriterion", outputs_only=True),
    ),
    "soft": CriterionKind(
        "between the two: leaves out the smallest weights, and makes all others smaller by the largest left out.",
        _later("soft", "SoftCriterion"),
    ),
    "random": CriterionKind(
        "leaves out as many weights at random, always the same ones; for comparison.",
        _later("random_masks", "RandomCriterion"),
    ),
    "wanda": CriterionKind(
        "leaves out the weights that matter least to each output, weighing each by how large its input is in images.",
        _later("wanda", "make", name="wanda", over="row"),
        Needs.CALIBRATION,
    ),
    "wanda-layer": CriterionKind(
        "the same over each layer.",
        _later("wanda", "make", name="wanda-layer", over="layer"),
        Needs.CALIBRATION,
    ),
    "wanda-group": CriterionKind(
        "the same over all down, mid or up blocks together.",
        _later("wanda", "make", name="wanda-group", over="group"),
        Needs.CALIBRATION,
    ),
    "ria": CriterionKind(
        "like wanda-layer, but a weight counts by its share in its row and its column.",
        _later("ria", "make", name="ria"),
        Needs.CALIBRATION,
    ),
    "obs-saliency": CriterionKind(
        "like wanda-layer, but it knows how far the inputs of a layer can stand in for one another.",
        _later("obs_saliency", "make", name="obs-saliency"),
        Needs.HESSIANS,
    ),
    "obs-diff": CriterionKind(
        "leaves out what obs-saliency would, and changes the weights that stay to make up for it; takes much memory.",
        _later("obs_diff", "make", name="obs-diff", by="ratio"),
        Needs.WHOLE_HESSIANS,
    ),
    "obs-diff-2of4": CriterionKind(
        "the same with two of every four weights of a row left out, wherever the ratio is not 0.",
        _later("obs_diff", "make", name="obs-diff-2of4", by="two of four"),
        Needs.WHOLE_HESSIANS,
    ),
    "taylor": CriterionKind(
        "leaves out the weights whose absence would change the denoising loss least, to first order.",
        _later("taylor", "make", name="taylor"),
        Needs.GRADIENTS,
    ),
    "channels": CriterionKind(
        "leaves out whole channels inside self-attention and feed-forward, those that their outputs need least.",
        _later("channels", "make", name="channels"),
        Needs.HESSIANS,
    ),
    "heads": CriterionKind(
        "leaves out whole heads of self-attention, those that the others can best stand in for.",
        _later("heads", "make", name="heads"),
        Needs.WHOLE_HESSIANS,
    ),
    "layerdrop": CriterionKind(
        "skips whole transformer blocks, those that change least in images, so that the pruned pass takes less time.",
        _later("layer_drop", "LayerDropCriterion"),
        Needs.CALIBRATION,
        _saved_by_blocks,
    ),
}
