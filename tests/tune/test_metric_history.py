"""What is remembered of metrics."""

from __future__ import annotations

import math
import random

import pytest

from shoal.tune.experiment.metric_history import MetricHistory


@pytest.mark.parametrize("count", [1, 2, 9, 40])
def test_all_scopes_are_those_of_the_values_one_or_many(count: int) -> None:
    generator = random.Random(count)
    values = [generator.uniform(-5, 5) for _ in range(count)]
    history = MetricHistory()
    for value in values:
        history.update({"loss": value, "config/x": 1, "pid": 3, "name": "text"})
    assert list(history.as_dict()) == ["loss"] and "loss" in history and "pid" not in history
    assert history.as_dict()["loss"] == pytest.approx(
        {
            "max": max(values),
            "min": min(values),
            "avg": sum(values) / count,
            "last": values[-1],
            "last-5-avg": sum(values[-5:]) / len(values[-5:]),
            "last-10-avg": sum(values[-10:]) / len(values[-10:]),
        }
    )
    assert history.get("loss", "max") == max(values) and history.get("unknown", "last") is None


def test_a_first_nan_does_not_hide_what_follows() -> None:
    history = MetricHistory()
    for value in (math.nan, 2.0, 1.0):
        history.update({"loss": value})
    assert (history.get("loss", "max"), history.get("loss", "min"), history.get("loss", "last")) == (2.0, 1.0, 1.0)
