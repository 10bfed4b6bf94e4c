"""What a criterion has to know of the benchmark's model beside its weights."""

from __future__ import annotations

import torch

from crdiff.bench.random_model import StepInputs
from crdiff.calibration.gradients import summed_gradients
from crdiff.calibration.run import Calibration, CalibrationRun, Gathered
from crdiff.errors import UnsupportedModelError
from crdiff.guidance.access import PlainAccess
from crdiff.method.groups import GROUPS
from crdiff.pruning.registry import CRITERIA, Needs
from crdiff.pruning.store import Store

_WITH_HESSIANS = (Needs.HESSIANS, Needs.WHOLE_HESSIANS)


def store_for(criterion: str, access: PlainAccess, model: torch.nn.Module, inputs: StepInputs) -> Store:
    """A store in which a criterion finds what it needs: a calibration by one pass, where it needs one.

    Args:
        criterion: a name in ``CRITERIA``.
        access: by which runs see the model.
        model: the model.
        inputs: of the pass.

    Raises:
        UnsupportedModelError: the model cannot be calibrated.
        NoGradientsError: there is not enough memory for gradients.
    """
    needs = CRITERIA[criterion].needs
    if needs is Needs.NOTHING:
        return Store()
    calibration = Calibration(hessians=GROUPS if needs in _WITH_HESSIANS else ())
    with CalibrationRun(calibration, access) as run:
        run.predict(model, lambda: model(*inputs), inputs.x.device)
    if run.refusals:
        raise UnsupportedModelError(" ".join(run.refusals))
    gradients = None
    if needs is Needs.GRADIENTS:
        gradients = summed_gradients(model, [lambda: model(*inputs).float().square().mean()]).halves()
    return Store(calibrations=Gathered(calibration, {}, gradients))
