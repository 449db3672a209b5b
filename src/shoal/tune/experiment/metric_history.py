"""What is remembered of a trial's numeric metrics: constant memory however many results there are."""

from __future__ import annotations

from typing import Any

from shoal.tune.result import AUTO_RESULT_KEYS, TIME_TOTAL_S, TRAINING_ITERATION

_LAST_COUNT = 10
_UNINTERESTING = frozenset(AUTO_RESULT_KEYS) - {TRAINING_ITERATION, TIME_TOTAL_S}


class MetricHistory:
    """Maximum, minimum, mean and the last ten values of each metric."""

    __slots__ = ("_metrics",)

    def __init__(self) -> None:
        # [max, min, sum, count, last values]; of a metric that has been reported once, as in most trials of a large search, the
        # number alone: a quarter of the memory.
        self._metrics: dict[str, list[Any] | float] = {}

    def update(self, flat_result: dict[str, Any]) -> None:
        for name, value in flat_result.items():
            if name in _UNINTERESTING or (not isinstance(value, (int, float)) and not hasattr(value, "__float__")):
                continue
            if name.startswith("config/"):
                continue
            try:
                number = float(value)
            except (TypeError, ValueError):
                continue
            entry = self._metrics.get(name)
            if entry is None:
                self._metrics[name] = number
                continue
            if isinstance(entry, float):
                entry = self._metrics[name] = _series(entry)
            # A first NaN must not hide the numbers that follow.
            entry[0] = number if number > entry[0] or entry[0] != entry[0] else entry[0]
            entry[1] = number if number < entry[1] or entry[1] != entry[1] else entry[1]
            entry[2] += number
            entry[3] += 1
            entry[4] = (*entry[4][-(_LAST_COUNT - 1) :], number)

    def get(self, metric: str, scope: str) -> float | None:
        """``scope``: max, min, avg, last, last-5-avg or last-10-avg; None for a metric that was never reported."""
        entry = self._metrics.get(metric)
        return None if entry is None else self._scope(entry, scope)

    @staticmethod
    def _scope(entry: list[Any] | float, scope: str) -> float:
        if isinstance(entry, float):
            return entry
        highest, lowest, total, count, last = entry
        if scope in ("max", "min"):
            return float(highest if scope == "max" else lowest)
        if scope == "avg":
            return float(total / count)
        if scope == "last":
            return float(last[-1])
        recent = last[-5:] if scope == "last-5-avg" else last
        return float(sum(recent) / len(recent))

    def as_dict(self) -> dict[str, dict[str, float]]:
        scopes = ("max", "min", "avg", "last", "last-5-avg", "last-10-avg")
        return {name: {scope: self._scope(entry, scope) for scope in scopes} for name, entry in self._metrics.items()}

    def __contains__(self, metric: str) -> bool:
        return metric in self._metrics


def _series(number: float) -> list[Any]:
    return [number, number, number, 1, (number,)]
