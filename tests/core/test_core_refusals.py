"""What a sampling run refuses: dense pictures, one sentence, and nothing left behind."""

from __future__ import annotations

import copy
import gc
import logging
import weakref

import pytest
import torch
from run_bench import CPU, Bench, mixed, touched
from small_unet import Fused, OwnLinear, make_unet, prunable_modules
from torch import nn

from crdiff.errors import CRDiffError
from crdiff.guidance.run import Run
from crdiff.plan import Plan, Planner


def refuse(*_: object) -> Plan:
    raise CRDiffError("There is no preset for this model.")


class TestRefusals:
    def check(self, bench: Bench, sentence: str, caplog) -> None:
        """Dense pictures, one sentence however many steps, and nothing left behind."""
        expected = copy.deepcopy(bench.unet)(*bench.inputs)
        with caplog.at_level(logging.WARNING, logger="crdiff"):
            results = [bench.step() for _ in range(3)]
        assert all(torch.equal(found, expected) for found in results)
        assert bench.passes(bench.step) == 1
        assert len(bench.run.refusals) == len(caplog.messages) == 1
        assert sentence in bench.run.refusals[0]
        assert bench.run.refusals[0].endswith(".")
        assert not touched(bench.unet)
        assert bench.run.applied == []
        bench.run.close()

    def test_by_the_host(self, caplog):
        bench = Bench()
        bench.access.refusal = "CR-Diff cannot prune an exported UNet."
        self.check(bench, "exported", caplog)

    def test_by_the_planner(self, caplog):
        bench = Bench()
        bench.run = Run(Planner(refuse), bench.access, bench.store)
        self.check(bench, "no preset", caplog)

    def test_of_a_layer_class(self, caplog):
        self.check(Bench(unet=make_unet(linear=Fused)), "Fused", caplog)

    def test_of_a_model_without_prunable_layers(self):
        bench, expected = Bench(), torch.zeros(1)
        for _ in range(2):
            assert bench.run.predict(nn.Sequential(nn.Linear(3, 3)), lambda: expected, CPU) is expected
        assert len(bench.run.refusals) == 1
        assert "Sequential" in bench.run.refusals[0]

    def test_of_weights_in_another_form(self):
        bench = Bench(unet=make_unet(linear=OwnLinear))
        for _, module in prunable_modules(bench.unet):
            module.weight = nn.Parameter((module.weight * 9).to(torch.int8), requires_grad=False)
            module.forward = lambda x, m=module: nn.functional.linear(x.double(), m.weight.double()).to(x.dtype)
        expected = bench.unet(*bench.inputs)
        for _ in range(2):
            assert torch.equal(bench.step(), expected)
        assert len(bench.run.refusals) == 1
        assert "float64" in bench.run.refusals[0]

    def test_of_a_unet_that_is_computed_elsewhere(self):
        """TensorRT and the like: the modules are there, and never called."""
        bench = Bench()
        bench.step()
        bench.run.close()
        result = torch.zeros(1)
        again = Bench(unet=bench.unet, store=bench.store)
        for _ in range(2):
            assert again.run.predict(again.unet, lambda: result, CPU) is result
        assert len(again.run.refusals) == 1
        assert not touched(again.unet)

    def test_the_random_state_is_that_of_one_dense_pass(self):
        torch.manual_seed(3)
        bench = Bench(unet=make_unet(linear=Fused, noisy=True))
        torch.manual_seed(4)
        copy.deepcopy(bench.unet)(*bench.inputs)
        expected = torch.get_rng_state()
        torch.manual_seed(4)
        bench.step()
        assert torch.equal(torch.get_rng_state(), expected)

    def test_another_model_gets_its_chance(self):
        bench = Bench(unet=make_unet(linear=Fused))
        bench.step()
        other = make_unet(seed=2)
        assert torch.equal(bench.step(other), mixed(other, bench.inputs, 1.5))
        assert len(bench.run.refusals) == 1


@pytest.mark.parametrize("refused_by", [None, "host", "layers"])
def test_nothing_keeps_the_unet_alive(refused_by):
    bench = Bench(unet=make_unet(linear=Fused if refused_by == "layers" else nn.Linear))
    bench.step()
    if refused_by == "host":
        bench.access.refusal = "No."
        bench.step()
    assert len(bench.run.refusals) == (refused_by is not None)
    bench.run.close()
    unet = weakref.ref(bench.unet)
    bench.unet = None
    gc.collect()
    assert unet() is None
