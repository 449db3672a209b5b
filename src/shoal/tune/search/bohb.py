"""BOHB: HyperBand with a model (Falkner et al., 2018), over ConfigSpace."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from shoal.tune.flatten import flatten_dict, unflatten_list_dict
from shoal.tune.mode import sign_of
from shoal.tune.result import DEFAULT_METRIC, TRAINING_ITERATION
from shoal.tune.search.extras import import_extra
from shoal.tune.search.points import check_no_grid, score_of, unquantized
from shoal.tune.search.sample import Categorical, Domain, Float, Integer, LogUniform, Normal
from shoal.tune.search.searcher import Searcher

_CANDIDATES = 64


class TuneBOHB(Searcher):
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
        self._configspace = import_extra("ConfigSpace", "TuneBOHB", package="ConfigSpace")
        super().__init__(metric=metric, mode=mode)
        settings = {"min_points_in_model": None, "top_n_percent": 15, "random_fraction": 1 / 3, "bandwidth_factor": 3.0}
        unknown = set(bohb_config or {}) - set(settings)
        if unknown:
            raise ValueError(f"bohb_config must hold keys of {sorted(settings)}, but got {sorted(unknown)}")
        self._settings: dict[str, Any] = {**settings, **(bohb_config or {})}
        self._points = self.copy_points(points_to_evaluate)
        self._seed = seed
        self._random = np.random.default_rng(seed)
        self._max_concurrent = max_concurrent
        self._running: set[str] = set()
        self._vectors: dict[str, Any] = {}
        self._results: dict[float, dict[str, float]] = {}  # budget -> trial -> loss
        self._constants: dict[str, Any] = {}
        self._space = self.convert_search_space(space, seed) if isinstance(space, dict) and space else space

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        if self._space:
            return False
        self._space = self.convert_search_space(config, self._seed)
        self._metric = metric or self._metric
        self._mode = mode or self._mode or "max"
        return True

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        self._max_concurrent = max_concurrent
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if self._space is None:
            raise RuntimeError("TuneBOHB needs a space: give it as the config of the run, or as space=...")
        if self._max_concurrent and len(self._running) >= self._max_concurrent:
            return None
        if self._points:
            chosen = self._configspace.Configuration(self._space, values=dict(flatten_dict(self._points.pop(0))))
        else:
            chosen = self._from_model() or self._space.sample_configuration()
        self._running.add(trial_id)
        self._vectors[trial_id] = np.nan_to_num(np.asarray(chosen.get_array(), dtype=float), nan=-1.0)
        nested: dict[str, Any] = unflatten_list_dict(dict(chosen))
        return nested

    def _from_model(self) -> Any:
        dimensions = len(list(self._space.values()))
        least = self._settings["min_points_in_model"] or dimensions + 1
        budgets = [budget for budget, seen in self._results.items() if len(seen) >= least + 2]
        if not budgets or self._random.random() < self._settings["random_fraction"]:
            return None
        ranked = sorted(self._results[max(budgets)].items(), key=lambda item: item[1])
        count = max(least, math.ceil(self._settings["top_n_percent"] * len(ranked) / 100))
        good = np.array([self._vectors[trial] for trial, _ in ranked[:count]])
        bad = np.array([self._vectors[trial] for trial, _ in ranked[-max(least, len(ranked) - count) :]])
        best, best_ratio = None, -math.inf
        for candidate in self._space.sample_configuration(_CANDIDATES // 2) + [
            found
            for found in (self._near(row) for row in good[self._random.integers(len(good), size=_CANDIDATES // 2)])
            if found
        ]:
            vector = np.nan_to_num(np.asarray(candidate.get_array(), dtype=float), nan=-1.0)
            ratio = _log_density(good, vector) - _log_density(bad, vector)
            if ratio > best_ratio:
                best, best_ratio = candidate, ratio
        return best

    def _near(self, center: Any) -> Any:
        """A configuration near a good one; None when the space forbids it."""
        width = self._settings["bandwidth_factor"] * 0.1
        vector = np.array(center, dtype=float)
        for index, parameter in enumerate(self._space.values()):
            size = len(getattr(parameter, "choices", ()))
            if size:
                vector[index] = self._random.integers(size) if self._random.random() < 0.3 else vector[index]
            elif vector[index] >= 0:
                vector[index] = float(np.clip(self._random.normal(vector[index], width), 0.0, 1.0))
        try:
            return self._configspace.Configuration(self._space, vector=vector)
        except ValueError:
            return None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        score = score_of(result, self.metric or DEFAULT_METRIC)
        if score is not None and trial_id in self._vectors and TRAINING_ITERATION in result:
            budget = float(result.get("hyperband_info", {}).get("budget", result[TRAINING_ITERATION]))
            self._results.setdefault(budget, {})[trial_id] = -sign_of(self.mode or "max") * score

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if result and not error:
            self.on_trial_result(trial_id, result)
        self._running.discard(trial_id)

    def on_pause(self, trial_id: str) -> None:
        self._running.discard(trial_id)

    def on_unpause(self, trial_id: str) -> None:
        self._running.add(trial_id)

    def get_state(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_configspace"}

    @staticmethod
    def convert_search_space(spec: dict[str, Any], seed: int | None = None) -> Any:
        """``spec`` as a ConfigurationSpace. Raises ValueError for grids."""
        configspace = import_extra("ConfigSpace", "TuneBOHB", package="ConfigSpace")
        constants, domains = check_no_grid(spec, "TuneBOHB")
        space = configspace.ConfigurationSpace(seed=seed)
        del constants  # they stay in the experiment's config
        for path, domain in domains:
            space.add(_parameter(configspace, "/".join(map(str, path)), domain))
        return space


def _log_density(points: Any, vector: Any) -> float:
    """The logarithm of a Gaussian kernel density, with a bandwidth by Scott's rule."""
    width = np.maximum(points.std(axis=0) * len(points) ** (-1.0 / (points.shape[1] + 4)), 0.05)
    exponents = -0.5 * (((points - vector) / width) ** 2).sum(axis=1)
    return float(np.logaddexp.reduce(exponents) - np.log(width).sum() - math.log(len(points)))


def _parameter(configspace: Any, name: str, domain: Domain) -> Any:
    sampler, quantum = unquantized(domain)
    if isinstance(domain, Categorical):
        return configspace.CategoricalHyperparameter(name, choices=domain.categories)
    if quantum is not None and quantum != 1:
        values = np.arange(domain.lower, domain.upper + (quantum / 2 if isinstance(domain, Float) else 0), quantum)  # type: ignore[attr-defined]
        return configspace.OrdinalHyperparameter(name, sequence=[domain.cast(value) for value in values])
    log = isinstance(sampler, LogUniform)
    if isinstance(domain, Integer):
        return configspace.UniformIntegerHyperparameter(name, domain.lower, domain.upper - 1, log=log)
    if isinstance(domain, Float) and not isinstance(sampler, Normal):
        return configspace.UniformFloatHyperparameter(name, domain.lower, domain.upper, log=log)
    raise ValueError(f"BOHB does not draw from {type(domain).__name__} with {sampler}, but got it for {name!r}")
