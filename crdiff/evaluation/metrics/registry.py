"""The metrics by name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from crdiff.checks import shown
from crdiff.errors import SettingsError
from crdiff.evaluation.metrics.metric import Metric, Scored, squashed
from crdiff.files import sha256_of
from crdiff.scoring.model_files import ModelFiles
from crdiff.scoring.registry import create
from crdiff.scoring.sources import CLIP, CLIP_B16, IMAGE_REWARD, PICK_SCORE, SIGLIP, Source

OWN = "own"
FID = "fid"
FID_LABEL = "FID (lower is better)"
_DIGEST = r"-[0-9a-f]{8}$"


@dataclass(frozen=True)
class MetricKind:
    """A metric as it is registered.

    Attributes:
        label: in reports.
        make: makes it, from the places where weights may lie.
        source: of its weights, by which they are downloaded; None if it needs none.
    """

    label: str
    make: Callable[[ModelFiles], Metric]
    source: Source | None = None


def _clip_b16(files: ModelFiles) -> Metric:
    # Imported here: it needs torch, and the names of the metrics do not.
    from crdiff.scoring.clip import ClipScorer

    return Scored("clip", ClipScorer(files, name="clip", source=CLIP_B16), 0.01)


def _aesthetic(files: ModelFiles) -> Metric:
    from crdiff.evaluation.metrics.aesthetic import Aesthetic

    return Aesthetic(files)


METRICS: Mapping[str, MetricKind] = {
    "imagereward": MetricKind(
        "ImageReward", lambda files: Scored("imagereward", create("imagereward", files)), IMAGE_REWARD
    ),
    "imagereward-256": MetricKind(
        "ImageReward 256 (squashed to 256x256)",
        lambda files: Scored("imagereward-256", create("imagereward", files), seen_as=squashed),
        IMAGE_REWARD,
    ),
    "clip": MetricKind("CLIP score (ViT-B/16)", _clip_b16, CLIP_B16),
    "clip-l": MetricKind("CLIP score (ViT-L/14)", lambda files: Scored("clip-l", create("clip", files), 0.01), CLIP),
    "aesthetic": MetricKind("Aesthetic score (predictor v2.5)", _aesthetic, SIGLIP),
    "pickscore": MetricKind("PickScore", lambda files: Scored("pickscore", create("pickscore", files)), PICK_SCORE),
}


def metric_of(name: str, files: ModelFiles) -> Metric:
    """The metric of a name, not yet loaded; ``FILE.py`` is a score of the user's own, named by its file and code.

    Raises:
        SettingsError: there is none.
    """
    if name.endswith(".py"):
        path = Path(name)
        return Scored(_own_name(path.absolute()), create(OWN, replace(files, own=path.absolute())))
    if name not in METRICS:
        raise SettingsError(f"There is no metric {shown(name)}; known are {', '.join(METRICS)} and FILE.py.")
    return METRICS[name].make(files)


def labels_of(names: Iterable[str]) -> dict[str, str]:
    """What reports call the metrics, all that are registered and these; a file's name suffices where it tells."""
    stems = {name: re.sub(_DIGEST, "", name) for name in names if name not in METRICS}
    own = {name: stem for name, stem in stems.items() if [*stems.values()].count(stem) == 1}
    return {**own, FID: FID_LABEL, **{name: kind.label for name, kind in METRICS.items()}}


def _own_name(path: Path) -> str:
    """Differs where the file, or one beside it that it may import, does, so that no score of other code is taken."""
    digest = hashlib.sha256()
    for one in sorted(path.parent.glob("*.py")):
        with suppress(OSError):  # removed meanwhile, or not to be read
            # By content, since the shares of an evaluation may be drawn on several machines.
            digest.update(f"{one.name} {sha256_of(one)}\n".encode())
    return f"{path.stem}-{digest.hexdigest()[:8]}"
