"""The magnitude profile against kthvalue over a concatenated clone: time and memory."""

from __future__ import annotations

import random
import re
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch

from crdiff.bench.allocations import measure
from crdiff.bench.reference import Units, threshold_by_kthvalue
from crdiff.bench.timing import Spread, timed
from crdiff.errors import SettingsError
from crdiff.method.groups import GROUPS, Ratios
from crdiff.pruning.histogram import DetailBuilder, MagnitudeProfile, ProfileBuilder

_LAYER = (10240, 1280)  # the largest pruned layer of the published models
_LOOK_UPS = 200


@dataclass(frozen=True)
class ThresholdCosts:
    """What the thresholds of a model's weights cost.

    Attributes:
        weights: number of weights.
        seconds: from the weights to the profile and the thresholds at one set of ratios.
        kthvalue_seconds: to the same thresholds by kthvalue.
        peak_bytes: extra memory of the profile at its peak.
        kthvalue_peak_bytes: the same of kthvalue.
        equal: whether both gave the same thresholds.
        new_ratio_seconds: the thresholds at other ratios from the profile, as far as it has been counted.
        recount_seconds: what other ratios take the first time with weights of full float32 precision, whose last
            13 bits are counted for one bin a group; 0 for others.
    """

    weights: int
    seconds: Spread
    kthvalue_seconds: Spread
    peak_bytes: int
    kthvalue_peak_bytes: int
    equal: bool
    new_ratio_seconds: float
    recount_seconds: float


def parse_count(text: str) -> int:
    """A number of weights from ``"50M"``, ``"1.6G"`` or digits.

    Raises:
        SettingsError: it is no such number, or 0.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgG]?)", text.strip())
    count = int(float(match[1]) * {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[match[2].lower()]) if match else 0
    if count < 1:
        raise SettingsError(f"A number of weights is written 50M or 50000000, not {text!r}.")
    return count


def random_weights(count: int, device: torch.device, dtype: torch.dtype) -> Units:
    """``count`` normally distributed weights as one group, in layers of the largest size that occurs."""
    generator = torch.Generator(device=device).manual_seed(0)
    layers, left = [], count
    while left:
        size = min(left, _LAYER[0] * _LAYER[1])
        layers.append(torch.empty(size, device=device, dtype=dtype).normal_(0.0, 0.03, generator=generator))
        left -= size
    return {"up": ("up", layers)}


def compare(weights: Units, ratios: Ratios, device: torch.device, rounds: int) -> ThresholdCosts:
    """Time both ways in turn, then look at their memory in runs of their own."""
    profiled, selected_in = [], []
    for _ in range(rounds):
        profiled.append(timed(lambda: _profile(weights, ratios), device).load)
        selected_in.append(timed(lambda: _kthvalue(weights, ratios), device).load)
    tracemalloc.start()
    counted = measure(lambda: _profile(weights, ratios), device)
    arrays = tracemalloc.get_traced_memory()[1]  # numpy's, which torch's allocator does not see
    tracemalloc.stop()
    selected = measure(lambda: _kthvalue(weights, ratios), device)
    profile = counted.result
    look_up, recount = _new_ratios(profile, weights, ratios, device)
    return ThresholdCosts(
        sum(weight.numel() for _, _, weight in _each(weights)),
        Spread.of(profiled),
        Spread.of(selected_in),
        counted.peak + arrays,
        selected.peak,
        profile.thresholds(ratios) == selected.result,
        look_up,
        recount,
    )


def _profile(weights: Units, ratios: Ratios) -> MagnitudeProfile:
    builder = ProfileBuilder()
    for group, unit, weight in _each(weights):
        builder.add(group, weight, unit)
    return _completed(builder.build(), weights, ratios)


def _completed(profile: MagnitudeProfile, weights: Units, ratios: Ratios) -> MagnitudeProfile:
    missing = profile.missing_bins(ratios)
    if missing:
        detail = DetailBuilder(missing)
        for group, unit, weight in _each(weights):
            detail.add(group, weight, unit)
        profile = detail.complete(profile)
    profile.sparsity(ratios)
    return profile


def _kthvalue(weights: Units, ratios: Ratios) -> dict[str, float]:
    found = {unit: threshold_by_kthvalue(some, ratios[group]) for unit, (group, some) in weights.items()}
    return {unit: threshold.item() for unit, threshold in found.items() if threshold is not None}


def _each(weights: Units) -> Iterator[tuple[str, str, torch.Tensor]]:
    """The group, unit and weight of every layer."""
    for unit, (group, some) in weights.items():
        for weight in some:
            yield group, unit, weight


def _new_ratios(profile: MagnitudeProfile, weights: Units, ratios: Ratios, device: torch.device) -> tuple[float, float]:
    generator = random.Random(0)
    others = [Ratios(*(generator.uniform(0.05, 0.95) for _ in GROUPS)) for _ in range(_LOOK_UPS)]
    recount = 0.0
    if profile.missing_bins(others[0]):
        recount = timed(lambda: _completed(profile, weights, others[0]), device).load
        others = [ratios] * _LOOK_UPS
    times = [timed(partial(profile.sparsity, other), device).seconds for other in others]
    return Spread.of(times).median, recount
