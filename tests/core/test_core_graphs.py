"""Steps captured and replayed: the same predictions, and eager ones wherever a graph could not hold them.

A stand-in captures here: it records the kernels of a step with the tensors and numbers that they are given, and replays
them on the same memory.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
import weakref

import pytest
import torch
from run_bench import CPU, Bench, mixed, touched
from small_unet import make_inputs, make_unet, prunable_modules
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from crdiff.guidance.capture import CudaBackend, rehearse
from crdiff.guidance.graphs import EAGER_STEPS, Arguments
from crdiff.guidance.run import Run
from crdiff.method.schedule import Position, Schedule
from crdiff.plan import Plan, Planner
from crdiff.pruning.copies import CopyPolicy
from crdiff.pruning.magnitude import MagnitudePruning
from crdiff.webui.hosts.arguments import taken_apart, together

K = 1.5


@pytest.fixture(autouse=True)
def _no_grad():
    """As in every host."""
    with torch.no_grad():
        yield


class Recorded(TorchDispatchMode):
    """The kernels that run within the block."""

    def __init__(self, backend) -> None:
        super().__init__()
        self.backend, self.kernels, self.output = backend, [], None

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self.kernels.append((func, args, kwargs, result))
        return result

    def replay(self) -> None:
        assert self.backend.open, "a graph was replayed after its memory was given back"
        for func, args, kwargs, result in self.kernels:
            for there, again in zip(tree_leaves(result), tree_leaves(func(*args, **kwargs))):
                if isinstance(there, torch.Tensor) and there.data_ptr() != again.data_ptr():
                    there.copy_(again)
        self.output.add_(self.backend.error)
        self.backend.replays += 1


class StandIn:
    """Captures on a processor. ``error`` is added to what is replayed; ``failure`` is raised instead of capturing."""

    def __init__(self, error: float = 0.0, failure: BaseException | None = None) -> None:
        self.error, self.failure = error, failure
        self.captured, self.replays, self.open = 0, 0, False

    def obstacle(self, device):
        return None

    def capture(self, work):
        if self.failure is not None:
            raise self.failure
        self.captured, self.open = self.captured + 1, True
        with Recorded(self) as recorded:
            recorded.output = work()
        self.graph = weakref.ref(recorded)
        return recorded, recorded.output

    def close(self):
        self.open = False


class Graphed(Bench):
    """A run whose host takes its calls apart."""

    def __init__(self, backend, **options) -> None:
        super().__init__(**options)
        self.backend = backend
        self.begin(options.get("policy", CopyPolicy.ALWAYS))

    def begin(self, policy=CopyPolicy.ALWAYS, schedule=None) -> None:
        """A run, by a schedule of its own if need be."""
        if schedule is not None:
            self.planner = Planner.fixed(Plan(schedule, self.k, "stages"), self.planner.mode)
        self.run = Run(self.planner, self.access, self.store, policy, self.backend)

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


STAGED = "0.4/0.5/0.3; 0.2/0.1/0.4 from 0.3; 0.2/0.1/0.4/2.3 from 0.4; 0.3/0.6/0.2/-0.7 from 0.55; 0/0/0 from 0.65"


@pytest.mark.parametrize(
    ("stages", "policy", "captured", "replayed"),
    [
        (STAGED, CopyPolicy.ALWAYS, [0] * 3 + [1] * 11, 2 + 1 + 2 + 2),
        # Of weights that are pruned on each use the graph has the thresholds; k it reads.
        (
            "0.4/0.5/0.3; 0.4/0.5/0.3/2.3 from 0.3; 0.2/0.1/0.4 from 0.4",
            CopyPolicy.NEVER,
            [0] * 3 + [1] * 7 + [2] * 4,
            2 + 1 + 3,
        ),
        (
            "0.4/0.5/0.3; 0/0.1/0.4 from 0.3; 0.3/0.6/0.2 from 0.5",
            CopyPolicy.ALWAYS,
            [0] * 3 + [1] * 6 + [2] * 4 + [3],
            2 + 0 + 0,
        ),
    ],
    ids=["in copies", "on each use", "other layers"],
)
def test_one_graph_serves_all_stages_that_prune_the_same_layers(stages, policy, captured, replayed):
    """The first step of new ratios and that of a new k are computed, and compared with what the graph gives; no others
    are where copies hold all that changes.
    """
    bench, schedule, found = Graphed(StandIn()), Schedule.parse(stages), []
    bench.begin(policy, schedule)
    for step in range(14):
        stage = schedule.at(step / 20)
        k = (stage.k or K) if any(stage.ratios) else 0.0
        assert torch.equal(at(bench, step), mixed(bench.unet, bench.inputs, k, stage.ratios))
        found.append(bench.backend.captured)
    assert (found, bench.run.replayed) == (captured, replayed)
    assert bench.backend.open == any(stage.ratios)


@pytest.mark.parametrize("mode", ["fast", "balanced"])
def test_stages_of_mixed_weights_in_one_graph(mode):
    """Copies that are written over in place give what weights that are mixed on each use do."""
    bench, plain = Graphed(StandIn(), mode=mode), Bench(mode=mode)
    bench.begin(schedule=Schedule.parse(STAGED))
    plain.run = Run(bench.planner, plain.access, policy=CopyPolicy.NEVER)
    for step in range(13):
        found = at(bench, step)
        plain.run.position, plain.inputs = bench.run.position, bench.inputs
        assert torch.equal(found, plain.step())
    assert bench.backend.captured == 1
    assert bench.run.replayed >= 2


def test_a_replay_that_differs_in_a_later_stage_ends_it():
    bench, schedule = Graphed(StandIn()), Schedule.parse(STAGED)
    bench.begin(schedule=schedule)
    for step in range(9):
        if step == 6:
            bench.backend.error = 1e-3
        stage = schedule.at(step / 20)
        assert torch.equal(at(bench, step), mixed(bench.unet, bench.inputs, stage.k or K, stage.ratios))
    assert (bench.backend.captured, bench.backend.open, bench.run.replayed) == (1, False, 2)


@pytest.mark.parametrize("entered", [6, 11], ids=["by computing", "before a replay"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a fault"), torch.cuda.OutOfMemoryError("none")])
def test_a_stage_that_cannot_be_entered_leaves_no_half_written_copy_behind(monkeypatch, error, entered):
    """The third layer's is, those after it are the last stage's then; the sampler may go back, or try again."""
    bench, schedule, writes, plain_write = Graphed(StandIn()), Schedule.parse(STAGED), [], MagnitudePruning.write
    weights = [module.weight.clone() for _, module in prunable_modules(bench.unet)]
    bench.begin(schedule=schedule)

    def write(pruning, call, out):
        writes.append(call.layer.name)
        if len(writes) == 3:
            out.zero_()
            raise error
        plain_write(pruning, call, out)

    def expected(step):
        stage = schedule.at(step / 20)
        return mixed(bench.unet, bench.inputs, stage.k or K, stage.ratios)

    at_steps(bench, entered)
    monkeypatch.setattr(MagnitudePruning, "write", write)
    if isinstance(error, torch.cuda.OutOfMemoryError):
        assert torch.equal(at(bench, entered), expected(entered))
    else:
        with pytest.raises(type(error)):
            at(bench, entered)
    for step in (entered - 1, entered - 1, entered, 7, 11):
        assert torch.equal(at(bench, step), expected(step))
    bench.run.close()
    assert not touched(bench.unet)
    assert all(torch.equal(module.weight, was) for (_, module), was in zip(prunable_modules(bench.unet), weights))


def test_memory_that_runs_out_in_the_first_step_of_a_stage_frees_graph_and_copies(monkeypatch):
    bench, copies, alive = Graphed(StandIn()), [], []
    plain_write, plain_ready = MagnitudePruning.write, MagnitudePruning.ready
    bench.begin(schedule=Schedule.parse(STAGED))

    def write(pruning, call, out):
        copies.append(weakref.ref(out))
        if len(copies) == 3:
            raise torch.cuda.OutOfMemoryError("none")
        plain_write(pruning, call, out)

    def ready(pruning, call):
        alive.extend(ref() is not None for ref in (bench.backend.graph, *copies))
        return plain_ready(pruning, call)

    at_steps(bench, 6)
    assert bench.backend.open
    monkeypatch.setattr(MagnitudePruning, "write", write)
    monkeypatch.setattr(MagnitudePruning, "ready", ready)
    at(bench, 6)
    assert alive and not any(alive)


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
