"""Population based bandits (Parker-Holder et al., 2020)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from shoal.tune.flatten import copy_containers
from shoal.tune.schedulers.pbt import PopulationBasedTraining
from shoal.tune.search.extras import import_extra
from shoal.tune.search.sample import uniform

_OBSERVATIONS_MAX = 500
_CANDIDATES = 1000


class PB2(PopulationBasedTraining):
    """Like PopulationBasedTraining, but new values come from a Gaussian process of how the metric improved with time and
    hyperparameters, by their upper confidence bound. Suits small populations.

    ``hyperparam_bounds``: ``{"lr": [1e-4, 1e-1]}``, continuous; integers in the configuration stay integers. Needs
    scikit-learn.
    """

    def __init__(
        self,
        time_attr: str = "time_total_s",
        metric: str | None = None,
        mode: str | None = None,
        perturbation_interval: float = 60.0,
        hyperparam_bounds: dict[str, Any] | None = None,
        quantile_fraction: float = 0.25,
        log_config: bool = True,
        require_attrs: bool = True,
        synch: bool = False,
        custom_explore_fn: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        bounds = hyperparam_bounds or {}
        if not bounds:
            raise ValueError(f"PB2 needs hyperparam_bounds, but got hyperparam_bounds={hyperparam_bounds!r}")
        for name, pair in bounds.items():
            if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not pair[0] < pair[1]:
                raise ValueError(f"hyperparam_bounds must be pairs of a lower and a higher number, but got {name}={pair!r}")
        super().__init__(
            time_attr=time_attr,
            metric=metric,
            mode=mode,
            perturbation_interval=perturbation_interval,
            hyperparam_mutations={name: uniform(low, high) for name, (low, high) in bounds.items()},
            quantile_fraction=quantile_fraction,
            resample_probability=0,
            custom_explore_fn=custom_explore_fn,
            log_config=log_config,
            require_attrs=require_attrs,
            synch=synch,
        )
        self._bounds = {name: (float(low), float(high)) for name, (low, high) in bounds.items()}
        self._previous: dict[str, tuple[float, float]] = {}
        self._observations: list[tuple[float, list[float], float]] = []  # time, hyperparameters, improvement per time

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if self._time_attr in result and self._metric in result:
            self._observe(trial, result)
        return super().on_trial_result(tune_controller, trial, result)

    def _observe(self, trial: Any, result: dict[str, Any]) -> None:
        time, score = float(result[self._time_attr]), self._score(result)
        before = self._previous.get(trial.trial_id)
        self._previous[trial.trial_id] = (time, score)
        if before is not None and time > before[0] and math.isfinite(score - before[1]):
            values = [float(trial.config[name]) for name in self._bounds]
            self._observations.append((time, values, (score - before[1]) / (time - before[0])))
            self._observations = self._observations[-_OBSERVATIONS_MAX:]

    def _get_new_config(self, trial: Any, trial_to_clone: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        self._previous.pop(trial.trial_id, None)  # the jump to the donor's score is no improvement of training
        config = copy_containers(trial_to_clone.config)
        if len(self._observations) < 4:
            chosen = [np.random.uniform(*pair) for pair in self._bounds.values()]
        else:
            chosen = list(self._suggest())
        for name, value in zip(self._bounds, chosen, strict=True):
            config[name] = round(value) if isinstance(config.get(name), int) else float(value)
        if self._explore_function is not None:
            config = self._explore_function(config)
        return config, {name: config[name] for name in self._bounds}

    def _suggest(self) -> Any:
        """The hyperparameters with the highest upper confidence bound at the latest time."""
        process = import_extra("sklearn.gaussian_process", "PB2", package="scikit-learn")
        kernels = import_extra("sklearn.gaussian_process.kernels", "PB2", package="scikit-learn")
        times = np.array([time for time, _, _ in self._observations])
        low = np.array([pair[0] for pair in self._bounds.values()])
        width = np.array([pair[1] - pair[0] for pair in self._bounds.values()])
        scaled = (np.array([values for _, values, _ in self._observations]) - low) / width
        span = max(times.max() - times.min(), 1e-9)
        inputs = np.column_stack([(times - times.min()) / span, scaled])
        gains = np.array([gain for _, _, gain in self._observations])
        targets = (gains - gains.mean()) / (gains.std() or 1.0)
        kernel = kernels.RBF(length_scale=[1.0] * inputs.shape[1]) + kernels.WhiteKernel(0.1)
        model = process.GaussianProcessRegressor(kernel, n_restarts_optimizer=0, optimizer=None).fit(inputs, targets)
        candidates = np.random.uniform(size=(_CANDIDATES, len(low)))
        mean, deviation = model.predict(np.column_stack([np.ones(_CANDIDATES), candidates]), return_std=True)
        confidence = math.sqrt(0.2 + 0.5 * math.log(len(targets) + 1))
        return low + width * candidates[int(np.argmax(mean + confidence * deviation))]
