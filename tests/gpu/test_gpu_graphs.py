"""Steps in CUDA graphs against two whole UNets, bit for bit, and what ends them."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

import pytest
import torch

from crdiff.bench.graph import arguments_of
from crdiff.bench.random_model import PUBLISHED, build_model, make_steps
from crdiff.bench.reference import TwoModels
from crdiff.guidance.access import PlainAccess
from crdiff.guidance.capture import CudaBackend
from crdiff.guidance.run import Run
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Position, Schedule
from crdiff.models.architecture import find_layers
from crdiff.models.unet import SD15, SDXL
from crdiff.plan import Plan, Planner
from crdiff.presets.size import Size
from crdiff.pruning.copies import CopyPolicy

RATIOS, K, STEPS = Ratios(0.397, 0.434, 0.387), 1.5, 12
SCALE = 0.25
STAGES = Schedule.parse("0.397/0.434/0.387; 0.2/0.3/0.5 from 0.5; 0.2/0.3/0.5/2.3 from 0.75")
FOURTH = "; 0.3/0.6/0.2 from 0.9"


def the_device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device())


class Drawn:
    """A run on a UNet with random weights, whose steps are drawn one after the other."""

    def __init__(
        self, family=SD15, mode="exact", policy=CopyPolicy.AUTO, graphs=True, ratios=RATIOS, k=K, dtype=torch.float16,
        schedule=None,
    ) -> None:  # fmt: skip
        self.device = the_device()
        self.shape = PUBLISHED[family].scaled(SCALE)
        self.unet = build_model(self.shape, self.device, dtype)
        self.dtype, self.ratios, self.k, self.mode, self.policy, self.graphs = dtype, ratios, k, mode, policy, graphs
        self.schedule = schedule or Schedule.constant(ratios)
        self.begin("a")

    def begin(self, name: str, backend: CudaBackend | None = None) -> None:
        planner = Planner(
            lambda checkpoint: Plan(self.schedule, self.k, "by hand"), mode=self.mode
        )  # fmt: skip
        self.backend = backend or (CudaBackend() if self.graphs else None)
        self.run = Run(planner, PlainAccess(name), policy=self.policy, graphs=self.backend)

    def inputs(self, size=Size(256, 320)):  # noqa: B008 (frozen)
        return make_steps(self.shape, size, STEPS, self.device, self.dtype)

    def step(self, index: int, inputs, forward: Callable[[], torch.Tensor] | None = None) -> torch.Tensor:
        self.run.position = Position(index, STEPS)
        return self.run.predict(
            self.unet, forward or (lambda: self.unet(*inputs)), self.device, inputs.context,
            arguments=arguments_of(self.unet, inputs),
        )  # fmt: skip

    def expected(self, inputs) -> torch.Tensor:
        return TwoModels(self.unet, self.ratios, self.k).step(inputs)


def draw(drawn: Drawn, size=Size(256, 320)) -> None:  # noqa: B008 (frozen)
    """All steps, each compared with two whole passes."""
    two = TwoModels(drawn.unet, drawn.ratios, drawn.k)
    expected = [two.step(inputs) for inputs in drawn.inputs(size)]
    for index, inputs in enumerate(drawn.inputs(size)):
        assert torch.equal(drawn.step(index, inputs), expected[index]), index


@pytest.mark.parametrize("family", [SD15, SDXL])
@pytest.mark.parametrize("policy", [CopyPolicy.ALWAYS, CopyPolicy.NEVER])
@pytest.mark.parametrize("ratios", [RATIOS, Ratios(0.0, 0.4, 0.4)], ids=str)
def test_exact_in_a_graph_equals_two_unets(family, policy, ratios):
    drawn = Drawn(family, policy=policy, ratios=ratios)
    draw(drawn)
    assert drawn.run.replayed >= STEPS // 2
    drawn.run.close()


@pytest.mark.parametrize("family", [SD15, SDXL])
@pytest.mark.parametrize("policy", [CopyPolicy.ALWAYS, CopyPolicy.NEVER])
def test_exact_without_graphs_equals_two_unets(family, policy):
    drawn = Drawn(family, policy=policy, graphs=False)
    draw(drawn)
    drawn.run.close()


class Counted(CudaBackend):
    """Counts what it captures."""

    captured = 0

    def capture(self, work):
        self.captured += 1
        return super().capture(work)


@pytest.mark.parametrize("family", [SD15, SDXL])
@pytest.mark.parametrize(
    ("policy", "more", "captured", "replayed"),
    [(CopyPolicy.ALWAYS, FOURTH, 1, 5), (CopyPolicy.NEVER, "", 2, 3)],
    ids=["in copies", "on each use"],
)
def test_stages_equal_two_unets_each_and_share_a_graph_where_there_are_copies(family, policy, more, captured, replayed):
    """The first steps of new ratios and of a new k are computed. Copies stay: a later stage takes no more memory."""
    stages = Schedule.parse(f"{STAGES}{more}")
    drawn, held = Drawn(family, policy=policy, schedule=stages), []
    drawn.begin("a", backend=Counted())
    for index, inputs in enumerate(drawn.inputs()):
        stage = stages.at(index / STEPS)
        expected = TwoModels(drawn.unet, stage.ratios, stage.k or K).step(inputs)
        assert torch.equal(drawn.step(index, inputs), expected), index
        del expected
        gc.collect()  # a copy of patched modules holds cycles
        held.append(torch.cuda.memory_allocated())
    assert (drawn.backend.captured, drawn.run.replayed) == (captured, replayed)
    assert policy is CopyPolicy.NEVER or max(held[5:]) - held[5] <= 2**20
    drawn.run.close()


@pytest.mark.parametrize("schedule", [None, STAGES], ids=["one stage", "stages"])
@pytest.mark.parametrize("mode", ["fast", "balanced"])
def test_other_modes_in_a_graph_equal_themselves_without(mode, schedule):
    graphed = Drawn(mode=mode, schedule=schedule)
    plain = Drawn(mode=mode, graphs=False, schedule=schedule, policy=CopyPolicy.NEVER)
    for index, inputs in enumerate(graphed.inputs()):
        assert torch.equal(graphed.step(index, inputs), plain.step(index, inputs))
    assert graphed.run.replayed > 0
    graphed.run.close(), plain.run.close()


@pytest.mark.parametrize("context", [torch.inference_mode, lambda: torch.autocast("cuda", torch.float16)])
def test_under_what_hosts_draw_in(context):
    with context():
        drawn = Drawn()
        draw(drawn)
        assert drawn.run.replayed >= STEPS // 2
        drawn.run.close()


def test_float32_weights_under_autocast():
    """Their casts are cached from pass to pass, and a graph must not read what was cached before."""
    with torch.autocast("cuda", torch.float16):
        graphed, plain = Drawn(dtype=torch.float32), Drawn(dtype=torch.float32, graphs=False)
        for drawn in (graphed, plain):
            drawn.unet.requires_grad_(True)
        for index, inputs in enumerate(graphed.inputs()):
            assert torch.equal(graphed.step(index, inputs), plain.step(index, inputs))
        graphed.run.close(), plain.run.close()


class InsideError(Exception):
    pass


def test_an_error_inside_a_pass_goes_through_and_leaves_the_model_as_it_was():
    drawn = Drawn()
    draw(drawn)
    (inputs, *_) = drawn.inputs()
    dense, expected = drawn.unet(*inputs), drawn.expected(inputs)
    handle = drawn.unet.middle_block.register_forward_hook(_fail)
    with pytest.raises(InsideError):
        drawn.step(0, inputs)
    handle.remove()
    assert torch.equal(drawn.step(0, inputs), expected)
    drawn.run.close()
    assert torch.equal(drawn.unet(*inputs), dense)
    assert not any("forward" in module.__dict__ for module in drawn.unet.modules())


def _fail(*_: object) -> None:
    raise InsideError


def test_another_shape_in_the_middle_of_a_run():
    drawn = Drawn()
    for size in (Size(256, 320), Size(320, 256), Size(256, 320)):
        draw(drawn, size)
    assert drawn.run.replayed >= STEPS
    drawn.run.close()


@pytest.mark.parametrize("new_run", [True, False], ids=["between runs", "within a run"])
def test_weights_changed_in_place(new_run):
    """As a LoRA is merged."""
    drawn = Drawn()
    draw(drawn)
    if new_run:
        drawn.run.close()
    for layer in find_layers(drawn.unet).layers[::7]:
        layer.module.get_parameter("weight").neg_()  # the magnitudes, and so the thresholds, stay
    if new_run:
        drawn.begin("a with a LoRA")
    draw(drawn)
    drawn.run.close()


class Starved(CudaBackend):
    """Captures while hardly any memory may be taken."""

    def __init__(self) -> None:
        super().__init__()
        self.tried = 0

    def capture(self, work):
        self.tried += 1
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**21) / total)
        try:
            return super().capture(work)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)


def test_no_memory_for_a_graph():
    drawn = Drawn(SDXL, policy=CopyPolicy.NEVER)
    drawn.begin("a", backend=Starved())
    draw(drawn, Size(512, 512))
    assert drawn.backend.tried == 1
    assert drawn.run.replayed == 0
    drawn.run.close()
    assert torch.randn(4, device=drawn.device).isfinite().all()


class Spoilt(CudaBackend):
    """Captures work that waits for the device in a way that nothing foretells."""

    def capture(self, work):
        def waiting():
            result = work()
            torch.cuda.synchronize()
            return result

        return super().capture(waiting)


def test_a_capture_that_was_spoilt_leaves_torch_as_it_was():
    drawn = Drawn()
    drawn.begin("a", backend=Spoilt())
    stream = torch.cuda.current_stream()
    draw(drawn)
    assert drawn.run.replayed == 0
    drawn.run.close()
    assert torch.cuda.current_stream() == stream
    assert torch.randn(4, device=drawn.device).isfinite().all()
    state = torch.cuda.get_rng_state()
    first = torch.rand(4, device=drawn.device)
    torch.cuda.set_rng_state(state)
    assert torch.equal(torch.rand(4, device=drawn.device), first)
    drawn.begin("b")
    draw(drawn)
    assert drawn.run.replayed >= STEPS // 2
    drawn.run.close()


def test_a_pass_that_waits_for_the_device_is_computed():
    drawn = Drawn()
    plain = type(drawn.unet).forward

    def waiting(self, x, timesteps, *args, **kwargs):
        return plain(self, x + float(timesteps.max()) * 1e-3, timesteps, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(drawn.unet), "forward", waiting)
        draw(drawn)
    assert drawn.run.replayed == 0
    drawn.run.close()


@pytest.mark.parametrize("differs", [1, 4], ids=["from the first step on", "later"])
def test_inputs_that_differ_from_pass_to_pass(differs):
    """What the passes seem to share is compared without waiting for the device, and a difference is noticed."""
    drawn = Drawn(graphs=False, ratios=Ratios(0.0, 0.4, 0.4))
    (inputs, *_) = drawn.inputs()
    pruned = TwoModels(drawn.unet, drawn.ratios, 1.0)
    calls: list[int] = []

    def forward() -> torch.Tensor:
        calls.append(0)
        x, timesteps, context, y = inputs
        return drawn.unet(x + 0.125 * len(calls), timesteps, context, y)

    for _ in range(differs):
        drawn.step(0, inputs)
    found = drawn.step(0, inputs, forward)
    assert not torch.equal(found, drawn.step(0, inputs))
    x = inputs.x
    sparse = pruned.step(inputs._replace(x=x + 0.125)).float()
    drawn.run.close()
    assert len(calls) == 3, "the dense pass is run again without what was taken over"
    dense = drawn.unet(*inputs._replace(x=x + 0.125 * 3)).float()
    assert torch.equal(found, (K * sparse + (1.0 - K) * dense).to(torch.float16))


def test_memory_comes_back_when_the_run_ends():
    drawn = Drawn(SDXL, policy=CopyPolicy.NEVER)
    (inputs, *_) = drawn.inputs()
    drawn.unet(*inputs)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    draw(drawn)
    assert drawn.run.replayed > 0
    drawn.run.close()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    # What libraries keep for themselves, such as a workspace for each stream, stays.
    assert torch.cuda.memory_reserved() - before <= 128 * 2**20


def test_another_thread_that_uses_the_device_meanwhile():
    """A preview of the image is decoded in the thread of the request that asks for it."""
    drawn, stop, errors = Drawn(), threading.Event(), []

    def preview() -> None:
        try:
            while not stop.is_set():
                torch.ones(64, 64, device=drawn.device).matmul(torch.ones(64, 64, device=drawn.device)).cpu()
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=preview)
    thread.start()
    try:
        draw(drawn)
    finally:
        stop.set()
        thread.join()
        drawn.run.close()
    assert not errors
