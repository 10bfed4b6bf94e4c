"""Evaluations that were drawn in shares, by several workers or on several machines, put together again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from crdiff.errors import CRDiffError
from crdiff.evaluation.errors import EvaluationError
from crdiff.evaluation.images import Plan
from crdiff.evaluation.record import Record
from crdiff.files import write_atomically

_PLAN = "plan.json"


def keep_plan(out: Path, plan: Plan) -> None:
    """Write what is compared to the evaluation's folder.

    Raises:
        OSError: it cannot be written.
    """
    write_atomically(out / _PLAN, json.dumps(plan.to_dict(), indent=1).encode())


def merged(folders: Sequence[Path]) -> tuple[Plan, Record]:
    """The plan of some folders, which must be the same, and what has been drawn in all of them.

    Raises:
        CRDiffError: one of them holds no evaluation, or another one.
    """
    plans = [_plan(folder) for folder in folders]
    for folder, plan in zip(folders, plans):
        if plan != plans[0]:
            raise EvaluationError(
                f"{folder} has other prompts, seeds, sizes, ways, presets, calibrations or --best-by than {folders[0]}."
            )
    record = Record(folders[0])
    for folder in folders[1:]:
        record.include(Record(folder))
    return plans[0], record


def _plan(folder: Path) -> Plan:
    path = folder / _PLAN
    try:
        return Plan.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError:
        raise EvaluationError(f"{folder} holds no evaluation: there is no {_PLAN}.") from None
    except (ValueError, KeyError, TypeError, AttributeError, CRDiffError) as error:
        raise EvaluationError(f"{path} cannot be read as what an evaluation compares ({error}).") from None
