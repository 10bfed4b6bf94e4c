"""Steps captured and replayed: the same predictions, and eager ones wherever a graph could not hold them.

A stand-in captures here: what it "replays" is computed again, from the static inputs and into the static output.
"""

from __future__ import annotations

import contextlib
import copy
import warnings

import pytest
import torch
from run_bench import CPU, Bench, mixed, touched
from small_unet import make_inputs, make_unet, prunable_modules

from crdiff.guidance.graphs import EAGER_STEPS, Arguments, CudaBackend, rehearse
from crdiff.guidance.run import Run
from crdiff.method.schedule import Position, Schedule
from crdiff.plan import Plan, Planner
from crdiff.webui.hosts.arguments import taken_apart, together

K = 1.5


@pytest.fixture(autouse=True)
def _no_grad():
    """As in every host."""
    with torch.no_grad():
        yield


class Recorded:
    def __init__(self, backend, work, output) -> None:
        self.backend, self.work, self.output = backend, work, output

    def replay(self) -> None:
        assert self.backend.open, "a graph was replayed after its memory was given back"
        self.output.copy_(self.work() + self.backend.error)


class StandIn:
    """Captures on a processor. ``error`` is added to what is replayed; ``failure`` is raised instead of capturing."""

    def __init__(self, error: float = 0.0, failure: BaseException | None = None) -> None:
        self.error, self.failure = error, failure
        self.captured, self.open = 0, False

    def obstacle(self, device):
        return None

    def capture(self, work):
        if self.failure is not None:
            raise self.failure
        self.captured, self.open = self.captured + 1, True
        output = work().clone()
        return Recorded(self, work, output), output

    def close(self):
        self.open = False


class Graphed(Bench):
    """A run whose host takes its calls apart."""

    def __init__(self, backend, **options) -> None:
        super().__init__(**options)
        self.backend = backend
        self.run = Run(self.planner, self.access, self.store, graphs=backend)

    def call(self, rest=(), inputs=None) -> torch.Tensor:
        inputs = self.inputs if inputs is None else inputs

        def run(tensors):
            return self.unet(*tensors)

        return self.run.predict(
            self.unet, lambda: run(inputs), CPU, inputs[2], arguments=Arguments(inputs, rest, run)
        )  # fmt: skip


def at(bench: Graphed, step: int) -> torch.Tensor:
    """A step of 20 with latents of its own and the run's prompt."""
    bench.run.position = Position(step, 20)
    x, timesteps, _ = make_inputs(seed=step)
    bench.inputs = (x, timesteps, bench.inputs[2])
    return bench.call()


def at_steps(bench: Graphed, steps: int) -> None:
    for step in range(steps):
        at(bench, step)


@pytest.mark.parametrize(
    ("mode", "k", "replayed"),
    [("exact", K, 12 - EAGER_STEPS - 2), ("fast", K, 12 - EAGER_STEPS - 2), ("fast", 1.0, 12 - EAGER_STEPS - 2)],
)
def test_replayed_steps_are_what_computed_ones_are(mode, k, replayed):
    """Copies of weights are made in the second step, the third and fourth are computed, then one is captured."""
    bench, plain = Graphed(StandIn(), mode=mode, k=k), Bench(mode=mode, k=k)
    for step in range(12):
        found = at(bench, step)
        plain.run.position, plain.inputs = bench.run.position, bench.inputs
        assert torch.equal(found, plain.step())
    assert bench.backend.captured == 1
    assert replayed - 1 <= bench.run.replayed <= replayed + 1


@pytest.mark.parametrize("criterion", ["attenuation", "random"])
def test_of_another_criterion(criterion):
    bench, plain = Graphed(StandIn(), criterion=criterion), Bench(criterion=criterion)
    for step in range(8):
        found = at(bench, step)
        plain.run.position, plain.inputs = bench.run.position, bench.inputs
        assert torch.equal(found, plain.step())
    assert bench.run.replayed > 0


def test_balanced_replays_its_steps_of_one_pass():
    bench, plain = Graphed(StandIn(), mode="balanced"), Bench(mode="balanced")
    for step in range(20):
        found = at(bench, step)
        plain.run.position, plain.inputs = bench.run.position, bench.inputs
        assert torch.equal(found, plain.step())
    assert bench.run.replayed >= 10


def test_each_stage_is_captured_anew_and_frees_the_graph_of_the_last():
    bench, plain = Graphed(StandIn()), Bench()
    stages = Schedule.parse("0.4/0.5/0.3; 0.2/0.1/0.3 from 0.4; 0.2/0.1/0.3/2.5 from 0.7; 0/0/0 from 0.95")
    planner = Planner.fixed(Plan(stages, K, "stages"))
    bench.run = Run(planner, bench.access, graphs=bench.backend)
    captured = []
    for step in range(20):
        found, stage = at(bench, step), stages.at(step / 20)
        k = (K if stage.k is None else stage.k) if any(stage.ratios) else 0.0
        assert torch.equal(found, mixed(plain.unet, bench.inputs, k, stage.ratios))
        captured.append(bench.backend.captured)
    # Eager again at the start of each stage; the graph of the last one is not met.
    assert captured == [0] * 3 + [1] * 8 + [2] * 5 + [3] * 4
    assert bench.run.replayed == 4 + 2 + 2
    assert not bench.backend.open


def test_a_replay_that_differs_ends_it():
    bench = Graphed(StandIn(error=1e-3))
    for step in range(8):
        assert torch.equal(at(bench, step), mixed(bench.unet, bench.inputs, K))
    assert (bench.backend.captured, bench.backend.open, bench.run.replayed) == (1, False, 0)


@pytest.mark.parametrize("failure", [torch.cuda.OutOfMemoryError("CUDA out of memory."), RuntimeError("capturing")])
def test_a_capture_that_fails_costs_nothing(failure):
    bench = Graphed(StandIn(failure=failure))
    for step in range(8):
        assert torch.equal(at(bench, step), mixed(bench.unet, bench.inputs, K))
    assert bench.run.replayed == 0


def test_an_interrupt_while_capturing_goes_through_and_leaves_nothing():
    bench = Graphed(StandIn(failure=KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        at_steps(bench, 8)
    bench.run.close()
    assert not touched(bench.unet)
    assert not bench.backend.open


def test_calls_of_another_shape_or_with_other_plain_arguments():
    bench = Graphed(StandIn())
    wide = tuple(torch.cat([part, part]) for part in make_inputs(seed=5))
    for _ in range(8):
        for inputs, rest in ((make_inputs(), 1), (wide, 1), (make_inputs(), 2)):
            assert torch.equal(bench.call(rest, inputs), mixed(bench.unet, inputs, K))
    assert bench.backend.captured == 3
    assert bench.run.replayed > 0


def replaying() -> Graphed:
    bench = Graphed(StandIn())
    for step in range(8):
        at(bench, step)
    assert bench.run.replayed > 0
    return bench


def a_hook(bench: Graphed) -> None:
    bench.unet.middle_block.register_forward_hook(lambda module, args, result: result * 1.1)


def an_override(bench: Graphed) -> None:
    block = bench.unet.output_blocks[1]
    plain = block.forward
    block.forward = lambda *args: plain(*args) * 1.1


def a_merged_lora(bench: Graphed) -> None:
    next(module for _, module in prunable_modules(bench.unet)).weight.mul_(-1.0)


def another_weight(bench: Graphed) -> None:
    bench.unet.out.weight = torch.nn.Parameter(bench.unet.out.weight * 2, requires_grad=False)


def another_module(bench: Graphed) -> None:
    bench.unet.input_blocks[0] = copy.deepcopy(bench.unet.input_blocks[0])
    bench.unet.input_blocks[0].weight.mul_(2.0)


@pytest.mark.parametrize("change", [a_hook, an_override, a_merged_lora, another_weight, another_module])
def test_what_changes_the_model_between_steps_is_followed(change):
    bench = replaying()
    change(bench)
    before = bench.run.replayed
    expected = Bench(unet=copy.deepcopy(bench.unet))
    for module in touched(expected.unet):
        if change is not an_override or module is not expected.unet.output_blocks[1]:
            del module.forward
    found = at(bench, 9)
    assert bench.run.replayed == before
    assert not bench.backend.open
    if change is not an_override:  # a deep copy's override would call the original block
        expected.inputs = bench.inputs
        assert torch.equal(found, mixed(expected.unet, bench.inputs, K))


def test_random_numbers_drawn_inside_a_pass():
    bench = Graphed(StandIn(), unet=make_unet(noisy=True))
    for step in range(8):
        at(bench, step)
    assert (bench.backend.captured, bench.run.replayed) == (0, 0)


def test_another_checkpoint_begins_anew():
    bench = replaying()
    bench.access.checkpoint = "b"
    before = bench.run.replayed
    for step in range(8):
        assert torch.equal(at(bench, step), mixed(bench.unet, bench.inputs, K))
    assert bench.run.replayed > before
    bench.run.close()
    assert not bench.backend.open
    assert not touched(bench.unet)


def test_memory_that_runs_out_ends_it():
    bench = replaying()
    assert torch.equal(bench.step_out_of_memory(1), mixed(bench.unet, bench.inputs, K))
    assert not bench.backend.open
    before = bench.run.replayed
    assert torch.equal(at(bench, 3), mixed(bench.unet, bench.inputs, K))
    assert bench.run.replayed == before


def test_without_cuda_every_step_is_computed():
    bench = Graphed(CudaBackend())
    for step in range(6):
        assert torch.equal(at(bench, step), mixed(bench.unet, bench.inputs, K))
    assert bench.run.replayed == 0


def test_a_call_taken_apart():
    x, other = torch.zeros(2), torch.ones(2)
    args, kwargs = (x, [other, None]), {"options": {"rows": [0, 1], "sigma": x}, "name": "a"}
    apart = taken_apart(args, kwargs, CPU, lambda *call: call)
    assert [id(tensor) for tensor in apart.tensors] == [id(x), id(other), id(x)]
    assert apart.run(apart.tensors) == (args, kwargs)
    changed = together(apart.rest, (other, x, x))
    assert changed[0][0] is other and changed[1]["options"]["rows"] == [0, 1]
    assert taken_apart((other, [x, None]), kwargs, CPU, None).rest == apart.rest
    assert taken_apart((x,), {**kwargs, "name": "b"}, CPU, None).rest != apart.rest


@pytest.mark.parametrize("value", [lambda x: x, object(), torch.zeros(2, device="meta"), {"patches": [print]}])
def test_a_call_with_more_than_tensors_and_plain_values_is_not_taken_apart(value):
    assert taken_apart((torch.zeros(2), value), {}, CPU, None) is None


@pytest.mark.parametrize("waits", [False, True])
def test_a_rehearsal_tells_a_wait_from_the_debug_modes_own_notice(monkeypatch, waits):
    """The texts are those of PyTorch, which gives the notice when the mode is first set."""
    notice = "Synchronization debug mode is a prototype feature and does not yet detect all synchronizing operations"
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda mode: warnings.warn(notice, stacklevel=2))

    def work() -> None:
        if waits:
            warnings.warn("called a synchronizing CUDA operation (Triggered internally)", stacklevel=2)

    with pytest.raises(RuntimeError, match="waits for the device") if waits else contextlib.nullcontext():
        rehearse(work)
