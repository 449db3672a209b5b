"""BOHB: HyperBand with a model (Falkner et al., 2018), over ConfigSpace."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from shoal.tune.result import TRAINING_ITERATION
from shoal.tune.search.adapter import AdapterSearcher, cannot_draw
from shoal.tune.search.extras import import_extra
from shoal.tune.search.points import FlatSpace, unquantized
from shoal.tune.search.sample import Categorical, Domain, Float, Integer, LogUniform, Normal

_CANDIDATES = 64


class TuneBOHB(AdapterSearcher):
    """Suggestions from kernel densities of good and of bad configurations, at the largest budget that has enough results.

    Use it together with ``HyperBandForBOHB``. ``space``: domains, or a ``ConfigSpace.ConfigurationSpace``. Of ``bohb_config``
    these keys are known: ``min_points_in_model``, ``top_n_percent`` (15), ``random_fraction`` (1/3), ``bandwidth_factor`` (3).
    ``max_concurrent`` 0 is no limit.
    """

    def __init__(
        self,
        space: Any = None,
        bohb_config: dict[str, Any] | None = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        seed: int | None = None,
        max_concurrent: int = 0,
    ) -> None:
        self._library = import_extra("ConfigSpace", "TuneBOHB")
        super().__init__(space, metric, mode, points_to_evaluate)
        settings = {"min_points_in_model": None, "top_n_percent": 15, "random_fraction": 1 / 3, "bandwidth_factor": 3.0}
        unknown = set(bohb_config or {}) - set(settings)
        if unknown:
            raise ValueError(f"bohb_config must hold keys of {sorted(settings)}, but got {sorted(unknown)}")
        self._settings: dict[str, Any] = {**settings, **(bohb_config or {})}
        self._seed = seed
        self._random = np.random.default_rng(seed)
        self._max_concurrent = max_concurrent
        self._running: set[str] = set()
        self._vectors: dict[str, Any] = {}
        self._results: dict[float, dict[str, float]] = {}  # budget -> trial -> loss

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        self._max_concurrent = max_concurrent
        return True

    def _prepare(self) -> None:
        if self._space is not None:
            self._own_space = _configuration_space(self._library, self._space, self._seed)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._max_concurrent and len(self._running) >= self._max_concurrent:
            return None
        config = super().suggest(trial_id)
        self._running.add(trial_id)
        self._vectors[trial_id] = _vector(self._live[trial_id])
        return config

    def _ask(self, point: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        if point is not None:
            chosen = self._library.Configuration(self._own_space, values=point)
        else:
            chosen = self._from_model() or self._own_space.sample_configuration()
        return chosen, dict(chosen)

    def _from_model(self) -> Any:
        dimensions = len(list(self._own_space.values()))
        least = self._settings["min_points_in_model"] or dimensions + 1
        budgets = [budget for budget, seen in self._results.items() if len(seen) >= least + 2]
        if not budgets or self._random.random() < self._settings["random_fraction"]:
            return None
        ranked = sorted(self._results[max(budgets)].items(), key=lambda item: item[1])
        count = max(least, math.ceil(self._settings["top_n_percent"] * len(ranked) / 100))
        good = np.array([self._vectors[trial] for trial, _ in ranked[:count]])
        bad = np.array([self._vectors[trial] for trial, _ in ranked[-max(least, len(ranked) - count) :]])
        best, best_ratio = None, -math.inf
        for candidate in self._candidates(good):
            vector = _vector(candidate)
            ratio = _log_density(good, vector) - _log_density(bad, vector)
            if ratio > best_ratio:
                best, best_ratio = candidate, ratio
        return best

    def _candidates(self, good: Any) -> list[Any]:
        """Random configurations, and some near good ones."""
        centers = good[self._random.integers(len(good), size=_CANDIDATES // 2)]
        near = [self._near(center) for center in centers]
        drawn: list[Any] = self._own_space.sample_configuration(_CANDIDATES // 2)
        return drawn + [found for found in near if found is not None]

    def _near(self, center: Any) -> Any:
        """A configuration near a good one; None when the space forbids it."""
        width = self._settings["bandwidth_factor"] * 0.1
        vector = np.array(center, dtype=float)
        vector[vector < 0] = np.nan  # not active in a conditional space
        for index, parameter in enumerate(self._own_space.values()):
            if np.isnan(vector[index]):
                continue
            levels = len(getattr(parameter, "choices", getattr(parameter, "sequence", ())))
            if levels:
                vector[index] = self._random.integers(levels) if self._random.random() < 0.3 else vector[index]
            else:
                vector[index] = float(np.clip(self._random.normal(vector[index], width), 0.0, 1.0))
        try:
            found = self._library.Configuration(self._own_space, vector=vector)
            found.check_valid_configuration()
            dict(found)
        except ValueError:
            return None
        return found

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        loss = self.loss_of(result)
        if loss is not None and trial_id in self._vectors and TRAINING_ITERATION in result:
            budget = float(result.get("hyperband_info", {}).get("budget", result[TRAINING_ITERATION]))
            self._results.setdefault(budget, {})[trial_id] = loss

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if result and not error:
            self.on_trial_result(trial_id, result)
        self._running.discard(trial_id)
        super().on_trial_complete(trial_id, result, error)

    def _tell(self, handle: Any, loss: float | None, result: dict[str, Any] | None) -> None:
        """Nothing more: results were taken with their budget."""

    def on_pause(self, trial_id: str) -> None:
        self._running.discard(trial_id)

    def on_unpause(self, trial_id: str) -> None:
        self._running.add(trial_id)

    @staticmethod
    def convert_search_space(spec: dict[str, Any], seed: int | None = None) -> Any:
        """``spec`` as a ConfigurationSpace, without quantization. Raises ValueError for grids."""
        return _configuration_space(import_extra("ConfigSpace", "TuneBOHB"), FlatSpace(spec, "TuneBOHB"), seed)


def _vector(configuration: Any) -> Any:
    """Its coordinates; -1 for hyperparameters that are not active."""
    return np.nan_to_num(np.asarray(configuration.get_array(), dtype=float), nan=-1.0)


def _log_density(points: Any, vector: Any) -> float:
    """The logarithm of a Gaussian kernel density, with a bandwidth by Scott's rule."""
    width = np.maximum(points.std(axis=0) * len(points) ** (-1.0 / (points.shape[1] + 4)), 0.05)
    exponents = -0.5 * (((points - vector) / width) ** 2).sum(axis=1)
    return float(np.logaddexp.reduce(exponents) - np.log(width).sum() - math.log(len(points)))


def _configuration_space(configspace: Any, space: FlatSpace, seed: int | None) -> Any:
    made = configspace.ConfigurationSpace(seed=seed)
    for name, domain in space.domains.items():
        made.add(_parameter(configspace, name, domain))
    return made


def _parameter(configspace: Any, name: str, domain: Domain) -> Any:
    sampler, _ = unquantized(domain)
    if isinstance(domain, Categorical):
        return configspace.CategoricalHyperparameter(name, choices=domain.categories)
    log = isinstance(sampler, LogUniform)
    if isinstance(domain, Integer):
        return configspace.UniformIntegerHyperparameter(name, domain.lower, domain.upper - 1, log=log)
    if isinstance(domain, Float) and not isinstance(sampler, Normal):
        return configspace.UniformFloatHyperparameter(name, domain.lower, domain.upper, log=log)
    raise cannot_draw("BOHB", name, domain)
