"""What the loggers of other systems take from a result."""

from __future__ import annotations

import numbers
from typing import Any

from shoal.tune.flatten import flatten_dict
from shoal.tune.result import AUTO_RESULT_KEYS, TRAINING_ITERATION

_LEFT_OUT = set(AUTO_RESULT_KEYS) - {TRAINING_ITERATION, "time_total_s", "time_this_iter_s"}


def split_result(result: dict[str, Any]) -> tuple[dict[str, float], dict[str, Any]]:
    """The numbers of ``result`` by flat name, and what else it holds; configuration, process and times of day are left out."""
    flat = flatten_dict({key: value for key, value in result.items() if key not in _LEFT_OUT and key != "config"})
    found = {key: float(value) for key, value in flat.items() if _is_number(value)}
    return found, {key: value for key, value in flat.items() if key not in found}


def step_of(result: dict[str, Any]) -> int:
    return int(result.get("timesteps_total") or result[TRAINING_ITERATION])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, numbers.Real)) and not isinstance(value, bool)
