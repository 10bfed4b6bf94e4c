"""What the checks of outside values let through, and the one sentence they refuse the rest with."""

import math

import pytest

from crdiff import checks
from crdiff.errors import SettingsError


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: checks.number("k", "2", -2, 3), "k must be a number in [-2, 3], not '2'."),
        (lambda: checks.number("k", True, -2, 3), "k must be a number in [-2, 3], not True."),
        (lambda: checks.number("k", 3.5, -2, 3), "k must lie in [-2, 3], not 3.5."),
        (lambda: checks.number("up", 1, 0, 1, high_open=True), "up must lie in [0, 1), not 1."),
        (lambda: checks.number("up", math.nan, 0, 1, high_open=True), "up must lie in [0, 1), not nan."),
        (lambda: checks.number("minutes", 0, 0, low_open=True), "minutes must be a number above 0, not 0."),
        (lambda: checks.number("minutes", math.inf, 0), "minutes must be a number of at least 0, not inf."),
        (lambda: checks.number("gain", None), "gain must be a finite number, not None."),
        (lambda: checks.number("gain", -math.inf), "gain must be a finite number, not -inf."),
        (lambda: checks.number("gain", 10**400), f"gain must be a finite number, not 1{'0' * 56}...."),
        (lambda: checks.integer("seed", -1, 0), "seed must be an integer of at least 0, not -1."),
        (lambda: checks.integer("seed", 1.0, 0), "seed must be an integer of at least 0, not 1.0."),
        (lambda: checks.integer("seed", False, 0), "seed must be an integer of at least 0, not False."),
        (lambda: checks.integer("steps", 9, 1, 8), "steps must be an integer in [1, 8], not 9."),
        (lambda: checks.choice("hires", "third", ["first", "last"]), "hires must be one of first, last, not 'third'."),
        (lambda: checks.choice("hires", ["first"], ["first"]), "hires must be one of first, not ['first']."),
        (lambda: checks.choice("hires", "x" * 999, ["first"]), f"hires must be one of first, not '{'x' * 56}...."),
        (lambda: checks.flag("enabled", 1), "enabled must be true or false, not 1."),
    ],
)
def test_a_value_that_cannot_be_used_is_named_in_one_sentence(call, sentence):
    with pytest.raises(SettingsError) as refused:
        call()
    assert str(refused.value) == sentence


def test_an_integer_too_long_to_write_out_is_refused_like_any_other():
    with pytest.raises(SettingsError, match=r"^gain must be a finite number, not .{1,60}\.$"):
        checks.number("gain", 10**5000)


def test_values_at_the_closed_ends_pass_and_numbers_come_back_as_floats():
    assert checks.number("k", -2, -2, 3) == -2.0
    assert isinstance(checks.number("k", 3, -2, 3), float)
    assert checks.number("gain", -1e300) == -1e300
    assert checks.integer("steps", 8, 1, 8) == 8
    assert checks.integer("seed", 2**64, 0) == 2**64
    assert checks.choice("hires", "second", {"first": 1, "second": 2}) == "second"
    assert checks.flag("enabled", False) is False
