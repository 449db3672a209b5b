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
    axes = ax if ax is not None else _axes(7, 4)
    scores = [score for _, score in rows]
    best = [scores[0]]
    for score in scores[1:]:
        best.append((max if mode == "max" else min)(best[-1], score))
    count = range(1, len(rows) + 1)
    axes.scatter(count, scores, s=18, color="#9aa5b1", label="each trial", zorder=2)
    axes.step(count, best, where="post", color="#1f6feb", linewidth=2, label="best so far", zorder=3)
    axes.scatter([best.index(best[-1]) + 1], [best[-1]], s=50, color="#1f6feb", zorder=4)
    axes.annotate(f"{best[-1]:.4g}", (best.index(best[-1]) + 1, best[-1]), xytext=(6, 6), textcoords="offset points")
    if min(scores) > 0 and max(scores) > 100 * min(scores):
        axes.set_yscale("log")
    axes.set_xlabel("trial")
    axes.set_ylabel(metric)
    axes.set_title(f"{metric} over {len(rows)} trials", loc="left")
    axes.legend(frameon=False)
    _plain_frame(axes)
    return axes


def plot_parallel_coordinates(results: Any, metric: str | None = None, mode: str | None = None, ax: Any = None) -> Any:
    """A line for each trial through its hyperparameters, coloured by the metric, the best on top; returns the matplotlib
    axes. Hyperparameters over several powers of ten have a logarithmic axis."""
    rows, metric, mode = _scored_rows(results, metric, mode)
    names = _varying(rows)
    axes = ax if ax is not None else _axes(max(6.0, 1.7 * (len(names) + 1)), 4.5)
    columns = [_Column(name, [config.get(name) for config, _ in rows]) for name in names]
    columns.append(_Column(metric, [score for _, score in rows]))
    colours = import_extra("matplotlib", "plots").colormaps["viridis_r" if mode == "min" else "viridis"]
    worst_first = sorted(range(len(rows)), key=lambda index: rows[index][1], reverse=mode == "min")
    for rank, index in enumerate(worst_first):
        is_best = rank == len(rows) - 1
        axes.plot(
            range(len(columns)),
            [column.positions[index] for column in columns],
            color="#d1242f" if is_best else colours(0.05 + 0.85 * columns[-1].positions[index]),
            alpha=1.0 if is_best else 0.45,
            linewidth=2.4 if is_best else 1.1,
            label=f"best: {metric} = {rows[index][1]:.4g}" if is_best else None,
        )
    for place, column in enumerate(columns):
        axes.axvline(place, color="#57606a", linewidth=0.8, zorder=0)
        for position, text in column.ticks:
            paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1}
            more: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8, "va": "center", "zorder": 5, "bbox": paper}
            axes.annotate(text, (place, position), xytext=(5, 0), **more)
    axes.set_xticks(range(len(columns)), [column.name for column in columns])
    axes.set_yticks([])
    axes.set_ylim(-0.06, 1.06)
    axes.set_xlim(-0.2, len(columns) - 0.5)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0))
    _plain_frame(axes, left=False)
    return axes


def plot_importance(results: Any, metric: str | None = None, mode: str | None = None, ax: Any = None) -> Any:
    """How much of the metric's variance each hyperparameter explains (fANOVA, of Optuna); returns the matplotlib axes."""
    importance = parameter_importance(results, metric, mode)
    axes = ax if ax is not None else _axes(6, 0.9 + 0.45 * len(importance))
    names = list(importance)[::-1]
    bars = axes.barh(names, [importance[name] for name in names], color="#1f6feb", height=0.65)
    axes.bar_label(bars, [f"{100 * importance[name]:.0f} %" for name in names], padding=4, fontsize=9)
    axes.set_xlim(0, 1.12 * max(importance.values(), default=1.0))
    axes.set_xticks([])
    axes.set_title("share of the variance explained", loc="left")
    _plain_frame(axes, bottom=False)
    return axes


def parameter_importance(results: Any, metric: str | None = None, mode: str | None = None) -> dict[str, float]:
    """The importance of each hyperparameter that varies, largest first. Needs Optuna, and its scikit-learn extra."""
    optuna = import_extra("optuna", "parameter_importance")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
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
    mode = check_mode(mode or analysis.default_mode, required=True)
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


class _Column:
    """One axis of parallel coordinates: where each value lies between 0 and 1, and what is written beside it."""

    def __init__(self, name: str, values: list[Any]) -> None:
        self.name = name
        numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        if numeric:
            self._take_numbers([float(value) for value in values])
        else:
            texts = [value if isinstance(value, str) else repr(value) for value in values]
            order = sorted(set(texts))
            places = {text: index / (len(order) - 1) if len(order) > 1 else 0.5 for index, text in enumerate(order)}
            self.positions = [places[text] for text in texts]
            self.ticks = [(place, text if len(text) <= 18 else text[:17] + "…") for text, place in places.items()]

    def _take_numbers(self, numbers: list[float]) -> None:
        low, high = min(numbers), max(numbers)
        # Values of a logarithmic space crowd at the low end of a linear axis; those of a uniform one do not.
        middle = sorted(numbers)[len(numbers) // 2]
        is_log = low > 0 and high >= 50 * low and middle - low < 0.2 * (high - low)
        scaled = [math.log(number) if is_log else number for number in numbers]
        bottom, top = min(scaled), max(scaled)
        width = top - bottom
        self.positions = [(number - bottom) / width if width > 0 else 0.5 for number in scaled]
        shown = [(place, bottom + place * width) for place in ((0.0, 0.25, 0.5, 0.75, 1.0) if width > 0 else (0.5,))]
        self.ticks = [(place, f"{math.exp(number) if is_log else number:.3g}") for place, number in shown]
        distinct = sorted(set(numbers))
        if len(distinct) <= 6 and width > 0:
            self.ticks = [(self.positions[numbers.index(number)], f"{number:.3g}") for number in distinct]


def _distribution(optuna: Any, values: list[Any]) -> Any:
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return optuna.distributions.FloatDistribution(float(min(values)), float(max(values)))
    return optuna.distributions.CategoricalDistribution(sorted({repr(value) for value in values}))


def _storable(value: Any, distribution: Any, optuna: Any) -> Any:
    return float(value) if isinstance(distribution, optuna.distributions.FloatDistribution) else repr(value)


def _axes(width: float, height: float) -> Any:
    return import_extra("matplotlib.pyplot", "plots").subplots(figsize=(width, height), layout="constrained")[1]


def _plain_frame(axes: Any, left: bool = True, bottom: bool = True) -> None:
    """Only the lines of the frame that say something."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines["left"].set_visible(left)
    axes.spines["bottom"].set_visible(bottom)
    axes.tick_params(length=0)
