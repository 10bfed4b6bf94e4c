"""Errors at any layer of any pass go through, and leave the model as it was."""

from __future__ import annotations

import pytest
import torch
from run_bench import Bench, mixed, touched
from small_unet import prunable_modules


class Failure(BaseException):
    pass


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (ValueError, True),
        (KeyboardInterrupt, True),
        (Failure, True),
        (ValueError, False),  # the two passes that look at new weights as well
    ],
)
def test_a_failure_at_any_layer_of_any_pass(error, counted):
    """It goes through; the next step is right, and closing leaves the model as it was."""
    bench = Bench()
    expected, dense = mixed(bench.unet, bench.inputs, 1.5), mixed(bench.unet, bench.inputs, 0.0)
    weights = [module.weight.clone() for _, module in prunable_modules(bench.unet)]
    if counted:
        bench.step()
        bench.run.close()
    calls = 0
    fail_at = None

    def counting(module, args):
        nonlocal calls
        calls += 1
        if calls - 1 == fail_at:
            raise error("CUDA out of memory.")

    for _, module in prunable_modules(bench.unet):
        module.register_forward_pre_hook(counting)
    # Every layer once; elsewhere every seventh is enough to meet each pass, each group and each kind of layer.
    for index in range(0, 36 * (2 if counted else 4), 1 if error is KeyboardInterrupt else 7):
        again = Bench(unet=bench.unet, store=bench.store if counted else None)
        calls, fail_at = 0, index
        with pytest.raises(error):
            again.step()
        assert calls == index + 1
        fail_at = None
        assert torch.equal(bench.unet(*bench.inputs), dense)
        assert torch.equal(again.step(), expected)
        again.run.close()
        assert not touched(bench.unet)
    assert torch.equal(bench.unet(*bench.inputs), dense)
    for (_, module), weight in zip(prunable_modules(bench.unet), weights):
        assert torch.equal(module.weight, weight)
