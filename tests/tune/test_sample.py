"""Domains draw what their bounds say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal import tune
from shoal.tune.search.sample import Float, Integer


@settings(max_examples=50, deadline=None)
@given(st.integers(-50, 50), st.integers(1, 60), st.integers(0, 2**31))
def test_integers_stay_below_their_upper_bound(lower: int, width: int, seed: int) -> None:
    values = tune.randint(lower, lower + width).sample(size=50, random_state=seed)
    assert all(type(value) is int and lower <= value < lower + width for value in np.atleast_1d(values).tolist())


@settings(max_examples=50, deadline=None)
@given(st.integers(-10, 10), st.integers(1, 10), st.sampled_from([0.1, 0.25, 2.0]))
def test_quantized_floats_are_multiples_inside_of_their_bounds(lower: int, width: int, q: float) -> None:
    for value in tune.quniform(lower * q, (lower + width) * q, q).sample(size=20, random_state=1):
        assert lower * q - 1e-9 <= value <= (lower + width) * q + 1e-9
        assert value / q == pytest.approx(round(value / q))


def test_quantized_integers_reach_both_bounds() -> None:
    assert set(tune.qrandint(-6, 6, 3).sample(size=500, random_state=0)) == {-6, -3, 0, 3, 6}
    assert set(tune.qrandint(1, 10, 3).sample(size=500, random_state=0)) == {3, 6, 9}


def test_logarithmic_values_are_uniform_in_their_logarithm() -> None:
    logs = np.log10(tune.loguniform(1e-6, 1e-2).sample(size=4000, random_state=0))
    assert np.mean(logs) == pytest.approx(-4, abs=0.1)
    assert logs.min() >= -6 and logs.max() < -2


def test_choices_keep_their_types() -> None:
    values = tune.choice([1.0, "a", None]).sample(size=100, random_state=3)
    assert {type(value) for value in values} == {float, str, type(None)}


def test_a_seed_repeats_what_was_drawn() -> None:
    domain = tune.uniform(0, 1)
    assert domain.sample(size=5, random_state=7) == domain.sample(size=5, random_state=7)
    np.random.seed(11)
    first = domain.sample(size=5)
    np.random.seed(11)
    assert first == domain.sample(size=5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Float(-1, 1).loguniform(), "lower bound > 0, but got lower=-1"),
        (lambda: Float(None, None).uniform(), "needs a lower bound"),
        (lambda: Float(0, 1).quantized(0.3), "upper must be a multiple of q, but got upper=1, q=0.3"),
        (lambda: Float(0, 1).uniform().normal(), "takes one sampler"),
        (lambda: Integer(3, 3), "upper must be > lower, but got lower=3, upper=3"),
        (lambda: tune.choice([]), "at least one value"),
        (lambda: tune.sample_from(lambda a, b: 0), "function of one argument"),
        (lambda: Float(float("nan"), 1), "bounds must be numbers"),
    ],
)
def test_a_domain_that_makes_no_sense_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
