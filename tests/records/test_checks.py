"""Checks of arguments: what passes, and that an error names the argument and the value."""

import math

import numpy as np
import pytest

from textrlhf.records.checks import count, finite, one_of


def test_valid_values_are_returned():
    assert count("n", np.int32(3)) == 3
    assert type(count("n", np.int32(3))) is int
    assert count("n", 0, least=0) == 0
    assert finite("x", np.float32(0.5)) == 0.5
    one_of("x", "a", ("a", None))


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "3", None])
def test_counts(value):
    with pytest.raises(ValueError, match=f"n is {value!r}: expected a whole number of at least 1"):
        count("n", value)


@pytest.mark.parametrize("value", [math.nan, math.inf, "1", True, None])
def test_finite_numbers(value):
    with pytest.raises(ValueError, match=f"x is {value!r}: expected a finite number"):
        finite("x", value)


def test_choices():
    with pytest.raises(ValueError, match="x is 'c': expected one of 'a', None"):
        one_of("x", "c", ("a", None))
