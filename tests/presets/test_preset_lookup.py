"""Which ratios a user gets for a checkpoint and a size, and what is said about them."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crdiff.errors import PresetError
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Schedule
from crdiff.models.family import OTHER, Family
from crdiff.models.unet import SD15, SD21, SDXL
from crdiff.presets.built_in import load_folder
from crdiff.presets.lookup import How, Match, look_up
from crdiff.presets.size import Size
from crdiff.presets.table import Preset

SHIPPED = load_folder(Path(__file__).resolve().parents[2] / "presets").presets
BASE = "31e35c80fc4829d14f90153f4c74cd59c90b779f6afe05a74cd6120b893f7e5b"
TUNE = "f" * 64
# Interpolated ratios have three decimals.
ROUNDING = 0.000501
SHIPPED_FAMILIES = st.sampled_from([SD15, SD21, SDXL])
SIZES = st.builds(Size, st.integers(64, 4096), st.integers(64, 4096))
RATIO = st.floats(0.0, 0.999)
RATIOS = st.builds(Ratios, RATIO, RATIO, RATIO)


def own(name: str, size: str, ratios: tuple[float, float, float] = (0.1, 0.2, 0.3), k: float | None = None,
        sha256: str | None = None) -> Preset:  # fmt: skip
    return Preset.own(name, SDXL, Size.parse(size), Ratios(*ratios), k, sha256)


@st.composite
def tables(draw: st.DrawFn, least: int = 1, most: int = 9) -> tuple[Preset, ...]:
    """Own presets of one family with distinct sizes, no two of them each other's transpose."""
    sizes = draw(
        st.lists(SIZES, min_size=least, max_size=most, unique_by=lambda size: tuple(sorted((size.height, size.width))))
    )
    k = st.none() | st.floats(-2.0, 3.0)
    return tuple(Preset.own(f"p{place}", SDXL, size, draw(RATIOS), draw(k)) for place, size in enumerate(sizes))


def found(presets: tuple[Preset, ...], size: Size, sha256: str | None = None, family: Family = SDXL) -> Match:
    match = look_up(presets, family, sha256, size)
    assert match is not None
    return match


def test_exact_checkpoint_before_family_before_turned_before_interpolated() -> None:
    ladder = [
        (own("tune", "640x896", (0.1, 0, 0), sha256=TUNE), How.EXACT_CHECKPOINT),
        (own("family", "640x896", (0.2, 0, 0)), How.FAMILY),
        (own("tune turned", "896x640", (0.3, 0, 0), sha256=TUNE), How.TRANSPOSED),
        (own("family turned", "896x640", (0.4, 0, 0)), How.TRANSPOSED),
        (own("elsewhere", "768x768", (0.5, 0, 0)), How.INTERPOLATED),
    ]
    while ladder:
        match = found(tuple(preset for preset, _ in reversed(ladder)), Size(640, 896), TUNE)
        preset, how = ladder.pop(0)
        assert (match.how, match.ratios.down) == (how, preset.ratios.down)
        assert match.estimated == (how is How.INTERPOLATED)
        assert match.used[0] == (preset, 1.0)


def test_own_preset_wins_over_the_shipped_one_for_the_same_key() -> None:
    mine = own("mine", "1024x1024")
    for presets in ((mine, *SHIPPED), (*SHIPPED, mine)):
        assert found(presets, Size(1024, 1024), TUNE).ratios == mine.ratios
        # One that was found on the very checkpoint still comes first.
        assert tuple(found(presets, Size(1024, 1024), BASE).ratios) == (0.295, 0.194, 0.236)
    bound = own("bound", "1024x1024", sha256=BASE.upper())
    for presets in ((bound, *SHIPPED), (*SHIPPED, bound)):
        assert found(presets, Size(1024, 1024), BASE).ratios == bound.ratios
        assert tuple(found(presets, Size(1024, 1024), TUNE).ratios) == (0.295, 0.194, 0.236)


def test_the_latest_of_own_presets_for_the_same_key_wins() -> None:
    older, newer = own("b", "800x800", (0.1, 0.1, 0.1)), own("a", "800x800", (0.2, 0.2, 0.2))
    assert found((older, newer), Size(800, 800)).ratios == newer.ratios
    assert found((newer, older), Size(800, 800)).ratios == older.ratios


def test_a_preset_bound_to_a_checkpoint_never_serves_another() -> None:
    bound = own("bound", "800x800", sha256=TUNE)
    assert look_up((bound,), SDXL, BASE, Size(800, 800)) is None
    assert look_up((bound,), SDXL, None, Size(640, 640)) is None
    for preset, _ in found((bound, *SHIPPED), Size(808, 800), BASE).used:
        assert preset.built_in


def test_checkpoint_hash_is_matched_in_either_case() -> None:
    assert found(SHIPPED, Size(512, 512), f" {BASE.upper()}\n").how is How.EXACT_CHECKPOINT


def test_a_model_of_no_known_family_has_the_presets_saved_for_it_alone() -> None:
    saved = Preset.own("mine", OTHER, Size(96, 128), Ratios(0.5, 0.4, 0.3), 1.2, TUNE)
    match = found((*SHIPPED, saved), Size(96, 128), TUNE, OTHER)
    assert (match.ratios, match.k, match.how) == (saved.ratios, 1.2, How.EXACT_CHECKPOINT)
    assert found((*SHIPPED, saved), Size(128, 256), TUNE, OTHER).used[0][0] is saved
    for sha256 in (None, BASE):
        assert look_up((*SHIPPED, saved), OTHER, sha256, Size(96, 128)) is None
    with pytest.raises(PresetError, match="limited to checkpoints"):
        Preset.own("everyone's", OTHER, Size(96, 128), Ratios(0.5, 0.4, 0.3), 1.2, TUNE, limited=False)


@pytest.mark.parametrize("size", [Size(64, 64), Size(512, 512), Size(560, 400)])
def test_unknown_family_and_family_without_presets_give_none(size: Size) -> None:
    assert look_up(SHIPPED, OTHER, BASE, size) is None
    assert look_up((), SDXL, BASE, size) is None
    only_sd15 = tuple(preset for preset in SHIPPED if preset.family is SD15)
    assert look_up(only_sd15, SDXL, BASE, size) is None


@pytest.mark.parametrize(
    ("size", "sha256", "phrase"),
    [
        ("512x512", BASE, "preset for this checkpoint, 512x512"),
        ("512x512", TUNE, "preset for SDXL, 512x512"),
        ("512x512", None, "preset for SDXL, 512x512"),
        ("560x400", BASE, "preset for SDXL, 400x560 (height x width), turned"),
        ("1024x1016", BASE, "no preset of this size, taken from the nearest, 1024x1024"),
        ("1600x1600", BASE, "no preset of this size, taken from the nearest, 1536x1536"),
        ("2048x2048", BASE, "no preset of this size, extrapolated from 1536x1536"),
        ("8192x8192", BASE, "no preset anywhere near this size, extrapolated from 1536x1536"),
        (
            "1x1",
            BASE,
            "no preset anywhere near this size, extrapolated from 480x360, 512x512 and 400x560 (height x width)",
        ),
        ("1280x1280", BASE, "no preset of this size, interpolated from 1536x1536, 1024x1024 and 512x512"),
    ],
)
def test_phrases_for_shipped_presets(size: str, sha256: str | None, phrase: str) -> None:
    assert found(SHIPPED, Size.parse(size), sha256).describe() == phrase


def test_phrases_for_own_presets() -> None:
    presets = (own("cats", "512x512"), own("dogs", "1024x1024", sha256=TUNE))
    assert found(presets, Size(512, 512), TUNE).describe() == "own preset 'cats'"
    assert found(presets, Size(1024, 1024), TUNE).describe() == "own preset 'dogs'"
    assert found(presets, Size(736, 736), TUNE).describe() == (
        "no preset of this size, interpolated from own preset 'dogs' 1024x1024 and own preset 'cats' 512x512"
    )


def test_no_size_is_told_twice() -> None:
    presets = (own("cats 512x512", "512x512"), own("dogs", "400x1600"))
    assert found(presets, Size(1600, 400)).describe() == "own preset 'dogs', turned"
    assert found(presets, Size(640, 640)).describe() == (
        "no preset of this size, interpolated from own preset 'cats 512x512' and own preset 'dogs' 400x1600 "
        "(height x width)"
    )


def test_many_equally_near_presets_are_counted_rather_than_listed() -> None:
    ring = tuple(own(f"p{side}", f"{side}x{2 * side}") for side in range(700, 710))
    phrase = found((*ring, own("far", "64x64")), Size(704, 1100)).describe()
    assert phrase.endswith(" and 7 more (height x width)")
    assert phrase.count("own preset") == 3


@given(st.integers(64, 2000), st.integers(64, 2000), st.integers(64, 2000), RATIOS, RATIOS)
def test_between_two_squares_the_ratios_are_linear_in_the_logarithm(
    a: int, b: int, c: int, low: Ratios, high: Ratios
) -> None:
    small, side, large = sorted((a, b, c))
    assume(small < side < large)
    presets = (own("s", f"{small}x{small}", tuple(low)), own("l", f"{large}x{large}", tuple(high)))  # type: ignore[arg-type]
    share = math.log(side / small) / math.log(large / small)
    match = found(presets, Size(side, side))
    for group in ("down", "mid", "up"):
        expected = low[group] + share * (high[group] - low[group])
        assert match.ratios[group] == pytest.approx(expected, abs=ROUNDING)


def test_k_is_interpolated_only_if_every_preset_carries_one() -> None:
    with_k = (own("a", "512x512", k=1.0), own("b", "2048x2048", k=2.0))
    assert found(with_k, Size(1024, 1024)).k == pytest.approx(1.5)
    assert found((with_k[0], replace(with_k[1], k=None)), Size(1024, 1024)).k is None
    assert found(with_k, Size(2048, 2048)).k == 2.0


@given(SHIPPED_FAMILIES, SIZES)
def test_turned_size_gives_the_same_ratios_in_the_shipped_tables(family: Family, size: Size) -> None:
    one = found(SHIPPED, size, None, family)
    other = found(SHIPPED, size.transposed, None, family)
    assert one.ratios == other.ratios


@given(tables(), SIZES)
def test_turned_size_gives_the_same_ratios_in_any_table(presets: tuple[Preset, ...], size: Size) -> None:
    one, other = found(presets, size), found(presets, size.transposed)
    assert (one.ratios, one.k, one.estimated) == (other.ratios, other.k, other.estimated)
    assert [preset.name for preset, _ in one.used] == [preset.name for preset, _ in other.used]


@given(SIZES, RATIOS, RATIOS, SIZES)
def test_both_orientations_listed_with_different_ratios(size: Size, tall: Ratios, wide: Ratios, asked: Size) -> None:
    assume(size.height != size.width)
    presets = (
        Preset.own("tall", SDXL, size, tall),
        Preset.own("wide", SDXL, size.transposed, wide),
        own("square", "512x512"),
    )
    assert found(presets, size).ratios == tall
    assert found(presets, size.transposed).ratios == wide
    assume(asked not in (size, size.transposed))
    match = found(presets, asked)
    assert match.ratios == found(presets, asked.transposed).ratios
    assert math.fsum(weight for _, weight in match.used) == pytest.approx(1.0)
    weights = {preset.name: weight for preset, weight in match.used}
    assert weights.get("tall") == weights.get("wide")


@given(tables())
def test_every_preset_is_reproduced_at_its_size(presets: tuple[Preset, ...]) -> None:
    for preset in presets:
        for size in (preset.size, preset.size.transposed):
            match = found(presets, size)
            assert (match.ratios, match.k, match.used) == (preset.ratios, preset.k, ((preset, 1.0),))
            assert not match.estimated


@given(tables(), SIZES)
def test_interpolation_stays_in_the_convex_hull(presets: tuple[Preset, ...], size: Size) -> None:
    match = found(presets, size)
    weights = [weight for _, weight in match.used]
    assert all(weight > 0 for weight in weights)
    assert math.fsum(weights) == pytest.approx(1.0)
    assert weights == sorted(weights, reverse=True)
    for group in ("down", "mid", "up"):
        values = [preset.ratios[group] for preset, _ in match.used]
        mean = sum(weight * preset.ratios[group] for preset, weight in match.used)
        assert match.ratios[group] == pytest.approx(mean, abs=ROUNDING)
        assert min(values) <= match.ratios[group] <= max(values)


@given(tables(), SIZES, RATIOS)
def test_presets_that_agree_are_not_changed_by_rounding(
    presets: tuple[Preset, ...], size: Size, ratios: Ratios
) -> None:
    agreed = tuple(replace(preset, schedule=Schedule.constant(ratios), k=1.1) for preset in presets)
    assert (found(agreed, size).ratios, found(agreed, size).k) == (ratios, 1.1)


@given(tables(), SIZES, st.randoms(use_true_random=False))
def test_order_of_the_presets_does_not_matter(presets: tuple[Preset, ...], size: Size, shuffle: random.Random) -> None:
    shuffled = list(presets)
    shuffle.shuffle(shuffled)
    assert found(tuple(shuffled), size) == found(presets, size)


@given(SHIPPED_FAMILIES, SIZES)
def test_interpolation_uses_the_nearest_presets(family: Family, size: Size) -> None:
    match = found(SHIPPED, size, None, family)
    assume(match.estimated)

    def distance(preset: Preset) -> float:
        # The same plane turned by 45 degrees: log height and log width of the picture with its short side upright,
        # the asked size moved to the nearest area and aspect of the table.
        areas = [other.size.log_area for other in SHIPPED if other.family is family]
        aspects = [abs(other.size.log_aspect) for other in SHIPPED if other.family is family]
        area = min(max(size.log_area, min(areas)), max(areas))
        aspect = min(max(abs(size.log_aspect), min(aspects)), max(aspects))
        low, high = sorted((math.log(preset.size.height), math.log(preset.size.width)))
        return math.dist((low, high), ((area - aspect) / 2, (area + aspect) / 2))

    used = [preset for preset, _ in match.used]
    unused = [preset for preset in SHIPPED if preset.family is family and preset not in used]
    distances = [distance(preset) for preset in used]
    assert distances == pytest.approx(sorted(distances), abs=1e-9)
    assert all(distance(preset) >= max(distances) - 1e-9 for preset in unused)
    # More than three count only where they are about as near as the nearest.
    assert len(used) <= 3 or max(distances) <= 1.25 * min(distances) + 1e-9


@pytest.mark.parametrize(
    ("size", "ratios"),
    [
        ((2048, 2048), (0.300, 0.343, 0.300)),
        ((8192, 8192), (0.300, 0.343, 0.300)),
        ((99999, 99999), (0.300, 0.343, 0.300)),
    ],
)
def test_far_above_the_table_the_largest_preset_serves(
    size: tuple[int, int], ratios: tuple[float, float, float]
) -> None:
    match = found(SHIPPED, Size(*size), BASE)
    assert tuple(match.ratios) == ratios
    assert match.estimated


@given(SHIPPED_FAMILIES, st.integers(64, 300), st.integers(1, 8))
def test_outside_the_table_the_ratios_no_longer_change(family: Family, side: int, factor: int) -> None:
    # The smallest area of all tables is 480x360, the largest 1536x1536, the largest aspect 560:400.
    assert found(SHIPPED, Size(64, 64), None, family).ratios == found(SHIPPED, Size(side, side), None, family).ratios
    long = found(SHIPPED, Size(1600 * factor, 2400 * factor), None, family)
    assert long.ratios == found(SHIPPED, Size(1600, 2400), None, family).ratios


def largest_step(presets: tuple[Preset, ...], start: Size, end: Size) -> float:
    """A change of the ratios over about one pixel, sought by halving the way on the side that changes more."""
    pixels = max(abs(end.height - start.height), abs(end.width - start.width))

    def ratios(place: int) -> Ratios:
        height = start.height + (end.height - start.height) * place // pixels
        width = start.width + (end.width - start.width) * place // pixels
        return found(presets, Size(height, width)).ratios

    def change(low: int, high: int) -> float:
        return max(abs(a - b) for a, b in zip(ratios(low), ratios(high), strict=True))

    low, high = 0, pixels
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if change(low, middle) >= change(middle, high) else (middle, high)
    return change(low, high)


# Sixty times the usual sizes: one pixel is so small a step there that only a jump moves a ratio.
FINE_SIZES = st.builds(Size, st.integers(20_000, 99_000), st.integers(20_000, 99_000))


@st.composite
def fine_tables(draw: st.DrawFn) -> tuple[Preset, ...]:
    """Presets at large sizes that are at least 20 % apart."""
    sides = [20_000, 27_000, 37_000, 50_000, 70_000, 95_000]
    pairs = st.tuples(st.sampled_from(sides), st.sampled_from(sides)).filter(lambda pair: pair[0] <= pair[1])
    sizes = draw(st.lists(pairs, min_size=1, max_size=12, unique=True))
    return tuple(Preset.own(f"p{place}", SDXL, Size(*size), draw(RATIOS)) for place, size in enumerate(sizes))


@given(fine_tables(), FINE_SIZES, FINE_SIZES)
def test_ratios_have_no_jumps_between_sizes(presets: tuple[Preset, ...], start: Size, end: Size) -> None:
    assume(start != end)
    assert largest_step(presets, start, end) < 0.005 + 2 * ROUNDING


@given(SHIPPED_FAMILIES, FINE_SIZES, FINE_SIZES)
def test_shipped_tables_have_no_jumps_between_sizes(family: Family, start: Size, end: Size) -> None:
    assume(start != end)
    enlarged = tuple(
        replace(preset, family=SDXL, size=Size(preset.size.height * 60, preset.size.width * 60))
        for preset in SHIPPED
        if preset.family is family
    )
    assert largest_step(enlarged, start, end) < 0.001 + 2 * ROUNDING


def test_no_jump_where_four_presets_are_equally_near() -> None:
    # The corners of a square in log height and log width; around its centre the nearest three change.
    corners = [(20_000, 40_000), (20_000, 80_000), (40_000, 40_001), (40_000, 80_000)]
    presets = tuple(
        Preset.own(f"p{place}", SDXL, Size(*corner), Ratios(place / 4, 0.0, 0.0))
        for place, corner in enumerate(corners)
    )
    centre = Size(28_284, 56_569)
    middle = found(presets, centre).ratios.down
    for height in range(-3, 4):
        for width in range(-3, 4):
            near = found(presets, Size(centre.height + height, centre.width + width)).ratios.down
            assert near == pytest.approx(middle, abs=0.005)


def test_stages_between_presets_change_where_either_does_and_are_never_more_than_eight() -> None:
    one = Preset.own("one", SDXL, Size(512, 512), Schedule.parse("0.1/0.2/0.3; 0.3/0.2/0.1/1 from 0.5"), 2.0)
    two = Preset.own("two", SDXL, Size(2048, 2048), Schedule.parse("0.3/0.4/0.5; 0.5/0.4/0.3 from 0.25"), 1.0)
    between = found((one, two), Size(1024, 1024))
    assert str(between.schedule) == "0.2/0.3/0.4/1.5; 0.3/0.3/0.3/1.5 from 0.25; 0.4/0.3/0.2/1 from 0.5"
    assert str(found((one, replace(two, k=None)), Size(1024, 1024)).schedule).startswith("0.2/0.3/0.4; ")
    many = tuple(
        Preset.own(str(side), SDXL, Size(side, side), Schedule.even([(0.1 * place, 0, 0) for place in range(parts)]))
        for side, parts in ((512, 8), (1024, 7), (2048, 5))
    )
    near = found(many, Size(1000, 1000)).schedule
    assert len(near.stages) == 8
    assert {stage.start for stage in many[1].schedule.stages} < {stage.start for stage in near.stages}
