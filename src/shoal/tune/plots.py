"""Pictures of a search, with matplotlib (and importance through Optuna). Each takes the result of ``fit`` or ``tune.run``."""

from __future__ import annotations

import math
from typing import Any

from shoal.tune.flatten import flatten_dict
from shoal.tune.mode import check_mode
from shoal.tune.search.extras import import_extra


def plot_convergence(results: Any, metric: str | None = None, mode: str | None = None, ax: Any = None) -> Any:
    """The best value so far over the trials, and each trial's own; returns the matplotlib axes."""
    rows, metric, mode = _scored_rows(results, metric, mode)
    axes = ax if ax is not None else _axes()
    best: list[float] = []
    for _, score in rows:
        better = score if not best else (max if mode == "max" else min)(best[-1], score)
        best.append(better)
    axes.plot(range(1, len(rows) + 1), [score for _, score in rows], "o", alpha=0.5, label="trial")
    axes.step(range(1, len(rows) + 1), best, where="post", label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel(metric)
    axes.legend()
    return axes


def plot_parallel_coordinates(results: Any, metric: str | None = None, mode: str | None = None, ax: Any = None) -> Any:
    """A line for each trial through its hyperparameters, coloured by the metric; returns the matplotlib axes."""
    rows, metric, _ = _scored_rows(results, metric, mode)
    names = _varying(rows)
    axes = ax if ax is not None else _axes()
    colours = import_extra("matplotlib", "plots").colormaps["viridis"]
    columns = [_positions([config.get(name) for config, _ in rows]) for name in names]
    scores = _positions([score for _, score in rows])
    for index, score in enumerate(scores):
        axes.plot(range(len(names) + 1), [column[index] for column in columns] + [score], color=colours(score), alpha=0.7)
    axes.set_xticks(range(len(names) + 1), [*names, metric], rotation=20)
    axes.set_yticks([0, 1], ["lowest", "highest"])
    return axes


def plot_importance(results: Any, metric: str | None = None, mode: str | None = None, ax: Any = None) -> Any:
    """How much of the metric's variance each hyperparameter explains (fANOVA, of Optuna); returns the matplotlib axes."""
    importance = parameter_importance(results, metric, mode)
    axes = ax if ax is not None else _axes()
    names = list(importance)[::-1]
    axes.barh(names, [importance[name] for name in names])
    axes.set_xlabel("importance")
    return axes


def parameter_importance(results: Any, metric: str | None = None, mode: str | None = None) -> dict[str, float]:
    """The importance of each hyperparameter that varies, largest first. Needs Optuna, and its scikit-learn extra."""
    optuna = import_extra("optuna", "parameter_importance")
    rows, _, mode = _scored_rows(results, metric, mode)
    study = optuna.create_study(direction="maximize" if mode == "max" else "minimize")
    distributions = {name: _distribution(optuna, [config.get(name) for config, _ in rows]) for name in _varying(rows)}
    for config, score in rows:
        values = {name: _storable(config.get(name), distributions[name], optuna) for name in distributions}
        study.add_trial(optuna.trial.create_trial(params=values, distributions=distributions, value=score))
    return {name: float(share) for name, share in optuna.importance.get_param_importances(study).items()}


def _scored_rows(results: Any, metric: str | None, mode: str | None) -> tuple[list[tuple[dict[str, Any], float]], str, str]:
    analysis = getattr(results, "_experiment_analysis", results)
    metric = metric or analysis.default_metric
    mode = check_mode(mode or analysis.default_mode or "max", required=True)
    if not metric:
        raise ValueError("a plot needs a metric when the run had none, but got metric=None")
    rows = []
    for trial in analysis.trials or []:
        score = trial.metrics.get(metric, "last")
        if score is not None and math.isfinite(score):
            rows.append((flatten_dict(trial.config), score))
    if not rows:
        raise ValueError(f"no trial has reported {metric!r} as a finite number; reported were {analysis.reported_metrics()}")
    return rows, metric, mode


def _varying(rows: list[tuple[dict[str, Any], float]]) -> list[str]:
    names = sorted({name for config, _ in rows for name in config})
    return [name for name in names if len({repr(config.get(name)) for config, _ in rows}) > 1]


def _positions(values: list[Any]) -> list[float]:
    """Values between 0 and 1: numbers by size, others by the order of their texts."""
    if all(isinstance(value, (int, float)) for value in values):
        numbers = [float(value) for value in values]
    else:
        order = sorted({repr(value) for value in values})
        numbers = [float(order.index(repr(value))) for value in values]
    low, high = min(numbers), max(numbers)
    return [(number - low) / (high - low) if high > low else 0.5 for number in numbers]


def _distribution(optuna: Any, values: list[Any]) -> Any:
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return optuna.distributions.FloatDistribution(float(min(values)), float(max(values)))
    return optuna.distributions.CategoricalDistribution(sorted({repr(value) for value in values}))


def _storable(value: Any, distribution: Any, optuna: Any) -> Any:
    return float(value) if isinstance(distribution, optuna.distributions.FloatDistribution) else repr(value)


def _axes() -> Any:
    return import_extra("matplotlib.pyplot", "plots").subplots()[1]
