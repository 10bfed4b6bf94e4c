"""A sampling run on the small UNet with everything around it at hand."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

import torch
from small_unet import SmallUNet, make_inputs, make_unet, masked_copy
from torch import nn

from crdiff.errors import UnsupportedModelError
from crdiff.guidance.access import WeightsIdentity
from crdiff.guidance.run import Run
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Schedule, StepWindow
from crdiff.models.checkpoint import Checkpoint
from crdiff.models.family import Family
from crdiff.modes.registry import DEFAULT_MODE
from crdiff.plan import Plan, Planner
from crdiff.pruning.copies import CopyPolicy
from crdiff.pruning.linear import run_with_weight
from crdiff.pruning.registry import DEFAULT_CRITERION
from crdiff.pruning.store import Store

CPU = torch.device("cpu")
RATIOS = (0.4, 0.5, 0.3)


class Access:
    """A host whose checkpoint is named by the test."""

    run_layer = staticmethod(run_with_weight)

    def __init__(self) -> None:
        self.checkpoint, self.modifiers = "a", ()
        self.refusal: str | None = None
        self.own_generators: list[random.Random] = []
        self.added: dict[nn.Module, list[torch.Tensor | str]] = {}

    def identity(self) -> WeightsIdentity:
        if self.refusal is not None:
            raise UnsupportedModelError(self.refusal)
        return WeightsIdentity(Checkpoint(self.checkpoint), "float32", self.modifiers)

    def stored_weight(self, module: nn.Module) -> torch.Tensor:
        return module.weight

    def added_on_use(self, module: nn.Module) -> list[torch.Tensor | str]:
        return self.added.get(module, [])

    def generators(self) -> list[random.Random]:
        return self.own_generators


class Bench:
    """A run with everything around it at hand."""

    def __init__(
        self, k=1.5, ratios=RATIOS, window=None, store=None, unet=None, mode=DEFAULT_MODE, policy=CopyPolicy.AUTO,
        criterion=DEFAULT_CRITERION, attention=None,
    ) -> None:  # fmt: skip
        self.unet: SmallUNet = make_unet() if unet is None else unet
        self.inputs, self.access = make_inputs(), Access()
        self.store = Store() if store is None else store
        self.planned: list[tuple[Family, str | None]] = []
        self.k, self.ratios, self.attention = k, ratios, attention
        self.planner = Planner(self.plan, window or StepWindow(), mode, criterion)
        self.run = Run(self.planner, self.access, self.store, policy)

    def plan(self, checkpoint: Checkpoint) -> Plan:
        self.planned.append((checkpoint.family, checkpoint.sha256))
        return Plan(Schedule.constant(Ratios(*self.ratios)), self.k, "by hand", self.attention)

    def step(self, unet: SmallUNet | None = None) -> torch.Tensor:
        unet = self.unet if unet is None else unet
        x, timesteps, context = self.inputs
        twice = [torch.cat([part, part]) for part in self.inputs]
        cells = x.shape[-2] * x.shape[-1]
        return self.run.predict(
            unet, lambda: unet(x, timesteps, context), CPU, context, lambda: unet(*twice), cells=cells
        )

    def step_out_of_memory(self, failures: int) -> torch.Tensor:
        """A step in which memory runs out in the first ``failures`` passes."""
        left = [1] * failures

        def forward() -> torch.Tensor:
            if left:
                left.pop()
                raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
            return self.unet(*self.inputs)

        return self.run.predict(self.unet, forward, CPU)

    def passes(self, steps: Callable[[], object]) -> int:
        before = self.unet.passes
        steps()
        return self.unet.passes - before


def mixed(unet: SmallUNet, inputs, k: float, ratios=RATIOS) -> torch.Tensor:
    dense, pruned = copy.deepcopy(unet)(*inputs), masked_copy(unet, ratios)(*inputs)
    if k in (0.0, 1.0):
        return pruned if k else dense
    return (k * pruned.float() + (1.0 - k) * dense.float()).to(dense.dtype)


def touched(unet: nn.Module) -> list[nn.Module]:
    """The modules whose forward is replaced."""
    return [module for module in unet.modules() if "forward" in module.__dict__]
