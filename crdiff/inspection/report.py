"""An inspection, and an overview, as JSON and as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from crdiff.checks import exact
from crdiff.inspection.inspection import Inspection
from crdiff.inspection.overview import Overview
from crdiff.method.groups import GROUPS
from crdiff.pruning.criterion import GroupSparsity


def to_json(inspection: Inspection) -> str:
    """The inspection as a JSON object; a group that nothing is pruned of has the threshold null.

    Ratios and groups are those of the first stage; where there are several, all are listed too.
    """
    preset = inspection.preset
    stages = [
        {**stage.to_json(), "groups": _groups(inspection, found)}
        for stage, found in zip(inspection.schedule.stages, inspection.stages)
    ]
    document = {
        "family": inspection.family.value,
        "criterion": inspection.criterion,
        "ratios": {group: inspection.ratios[group] for group in GROUPS},
        "preset": preset and {"size": str(preset.size), "origin": preset.describe(), "estimated": preset.estimated},
        "groups": stages[0]["groups"],
        **({} if len(stages) == 1 else {"stages": stages}),
    }
    return json.dumps(document, indent=2, allow_nan=False)


def _groups(inspection: Inspection, sparsity: Mapping[str, GroupSparsity]) -> dict[str, Any]:
    return {
        group: {
            "layers": inspection.layers[group],
            "weights": found.weights,
            "threshold": found.threshold,
            "pruned": found.pruned,
            "sparsity": found.sparsity,
        }
        for group, found in sparsity.items()
    }


def to_text(inspection: Inspection) -> str:
    """The inspection as a table."""
    origin = "as given"
    if inspection.preset is not None:
        origin = inspection.preset.describe()
        if inspection.preset.estimated:
            origin = f"estimated: {origin}"
    lines = [
        f"{inspection.checkpoint}: {inspection.family.label}",
        f"ratios {inspection.schedule} (down/mid/up), {origin}; criterion {inspection.criterion}",
        f"{'group':<5} {'layers':>6} {'weights':>13} {'threshold':>12} {'pruned':>13} {'sparsity':>8}",
    ]
    for stage, sparsity in zip(inspection.schedule.stages, inspection.stages):
        lines += [] if inspection.schedule.is_constant else [f"from {exact(stage.start)}:"]
        lines += [_row(group, inspection.layers[group], found) for group, found in sparsity.items()]
        total = GroupSparsity(
            sum(found.weights for found in sparsity.values()), sum(found.pruned for found in sparsity.values())
        )
        lines.append(_row("all", sum(inspection.layers.values()), total))
    return "\n".join(lines)


def overview_to_json(overview: Overview) -> str:
    """The overview as a JSON object."""
    document = {
        "family": overview.family.value,
        "storage": list(overview.storage),
        "quantised": bool(overview.quantised),
        "groups": {
            group: {"layers": layers, "weights": overview.weights[group]} for group, layers in overview.layers.items()
        },
        "presets": [str(preset.size) for preset in overview.presets],
    }
    return json.dumps(document, indent=2, allow_nan=False)


def overview_to_text(overview: Overview) -> str:
    """The overview as a table and a few lines."""
    lines = [
        f"{overview.checkpoint}: {overview.family.label}, stored as {' and '.join(overview.storage)}",
        f"{'group':<5} {'layers':>6} {'weights':>13}",
    ]
    lines += [f"{group:<5} {layers:>6} {overview.weights[group]:>13,}" for group, layers in overview.layers.items()]
    lines.append(f"{'all':<5} {sum(overview.layers.values()):>6} {sum(overview.weights.values()):>13,}")
    if overview.quantised:
        lines.append("The stored numbers are not the weights it draws with; CR-Diff counts those in the WebUI.")
    if overview.presets:
        sizes = [f"{preset.size}{' (native)' if preset.native else ''}" for preset in overview.presets]
        lines.append(f"built-in presets (height x width): {', '.join(sizes)}; other sizes are estimated from these")
    else:
        lines.append("There are no built-in presets for its family: ratios can be given, or searched for.")
    return "\n".join(lines)


def _row(label: str, layers: int, found: GroupSparsity) -> str:
    threshold = "-" if found.threshold is None else f"{found.threshold:.6g}"
    return f"{label:<5} {layers:>6} {found.weights:>13,} {threshold:>12} {found.pruned:>13,} {found.sparsity:>8.2%}"
