"""Optuna: tree-structured Parzen estimators and its other samplers, several metrics, spaces defined by running a function."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

from shoal.tune.flatten import flatten_dict, unflatten_list_dict
from shoal.tune.mode import check_mode
from shoal.tune.result import DEFAULT_METRIC, TRAINING_ITERATION
from shoal.tune.search.extras import import_extra
from shoal.tune.search.points import FlatSpace, check_no_grid, flat_name, unquantized
from shoal.tune.search.sample import Categorical, Domain, Float, Integer, LogUniform, Normal
from shoal.tune.search.searcher import Searcher


class OptunaSearch(Searcher):
    """Suggestions of an Optuna study.

    ``space``: a dictionary of domains or of Optuna distributions, or a function of an Optuna trial that suggests values and may
    return a dictionary of constants (define by run; names with "/" are nested). ``metric`` and ``mode`` may be lists (several
    objectives). ``points_to_evaluate`` are tried first; ``evaluated_rewards`` says how they were. ``sampler`` and ``storage``
    are Optuna's; ``seed`` seeds the default sampler (multivariate TPE).
    """

    def __init__(
        self,
        space: dict[str, Any] | Callable[[Any], dict[str, Any] | None] | None = None,
        metric: str | list[str] | None = None,
        mode: str | list[str] | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        sampler: Any = None,
        study_name: str | None = None,
        storage: Any = None,
        seed: int | None = None,
        evaluated_rewards: list[Any] | None = None,
    ) -> None:
        self._optuna = import_extra("optuna", "OptunaSearch")
        super().__init__(metric=metric, mode=mode)
        if sampler is not None and seed is not None:
            warnings.warn("seed is for the default sampler and has no effect on a given one", stacklevel=2)
        if sampler is not None and not isinstance(sampler, self._optuna.samplers.BaseSampler):
            raise ValueError(f"sampler must be an Optuna sampler, but got sampler={sampler!r}")
        self._space = space
        self._flat: FlatSpace | None = None
        self._constants: dict[str, Any] = {}
        if isinstance(space, dict) and check_no_grid(space, "OptunaSearch")[1]:
            self._space, self._flat = self.convert_search_space(space), FlatSpace(space, "OptunaSearch")
        elif isinstance(space, dict):
            self._constants = _constants_of(space)
        self._points = self.copy_points(points_to_evaluate)
        self._rewards = list(evaluated_rewards or [])
        self._study_name = study_name or "optuna"
        self._sampler = sampler or _default_sampler(self._optuna, seed)
        self._storage = storage
        self._trials: dict[str, Any] = {}
        self._ended: set[str] = set()
        self._study: Any = None
        if self._space and mode:
            self._create_study()

    @property
    def _metrics(self) -> list[str]:
        metric = self._metric or DEFAULT_METRIC
        return metric if isinstance(metric, list) else [metric]

    def _create_study(self) -> None:
        optuna = self._optuna
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        modes = self._mode if isinstance(self._mode, list) else [self._mode] * len(self._metrics)
        directions = ["minimize" if check_mode(mode or "max") == "min" else "maximize" for mode in modes]
        self._study = optuna.create_study(
            storage=self._storage or optuna.storages.InMemoryStorage(),
            sampler=self._sampler,
            pruner=optuna.pruners.NopPruner(),
            study_name=self._study_name,
            directions=directions,
            load_if_exists=True,
        )
        if self._rewards and len(self._rewards) != len(self._points):
            raise ValueError(
                "evaluated_rewards must have one value for each of points_to_evaluate, "
                f"but got {len(self._rewards)} and {len(self._points)}"
            )
        if self._rewards:
            for point, reward in zip(self._points, self._rewards, strict=True):
                self.add_evaluated_point(point, reward)
        else:
            for point in self._points:
                self._study.enqueue_trial(flatten_dict(point, flatten_list=True))

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        self._metric = self._metric or metric
        if self._space and (self._study is not None or not (self._mode or mode)):
            return False
        self._mode = self._mode or mode or "max"
        is_taken = not self._space
        if is_taken:
            self._space, self._flat = self.convert_search_space(config), FlatSpace(config, "OptunaSearch")
        self._create_study()
        return is_taken

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if not self._space:
            raise RuntimeError("OptunaSearch needs a space: give it as the config of the run, or as space=...")
        if self._study is None:
            raise RuntimeError(f"OptunaSearch needs a metric and a mode, but got metric={self._metric!r}, mode={self._mode!r}")
        if callable(self._space):
            return self._define_by_run(trial_id, self._space)
        if trial_id not in self._trials:
            self._trials[trial_id] = self._study.ask(fixed_distributions=self._distributions())
        if self._flat is not None:
            return self._flat.filled(self._trials[trial_id].params)
        nested: dict[str, Any] = unflatten_list_dict({**self._constants, **self._trials[trial_id].params})
        return nested

    def _distributions(self) -> dict[str, Any]:
        distribution = self._optuna.distributions.BaseDistribution
        assert isinstance(self._space, dict)
        flat = flatten_dict(self._space)
        return {name: value for name, value in flat.items() if isinstance(value, distribution)}

    def _define_by_run(self, trial_id: str, function: Callable[[Any], Any]) -> dict[str, Any]:
        if trial_id not in self._trials:
            self._trials[trial_id] = self._study.ask()
        trial = self._trials[trial_id]
        started = time.monotonic()
        constants = function(_WithOldNames(trial))
        elapsed_s = time.monotonic() - started
        if elapsed_s > 1:
            warnings.warn(f"the space function took {elapsed_s:.1f} s: it must not train, only suggest", stacklevel=2)
        if constants is not None and not isinstance(constants, dict):
            raise TypeError(f"the space function must return None or a dictionary of constants, but got {constants!r}")
        nested: dict[str, Any] = unflatten_list_dict({**trial.params, **flatten_dict(constants or {})})
        return nested

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if len(self._metrics) > 1 or trial_id not in self._trials:
            return  # Optuna takes intermediate values of one objective only
        value = result.get(self._metrics[0])
        if value is not None and TRAINING_ITERATION in result:
            self._trials[trial_id].report(float(value), int(result[TRAINING_ITERATION]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        trial = self._trials.get(trial_id)
        if trial is None or trial_id in self._ended or self._study is None:
            self._learn_from_foreign(trial_id, result, error)
            return
        self._ended.add(trial_id)
        states = self._optuna.trial.TrialState
        values = [result.get(metric) for metric in self._metrics] if result and not error else None
        if values is None or any(value is not None and value != value for value in values):
            self._study.tell(trial, state=states.FAIL)
        elif any(value is None for value in values):
            self._study.tell(trial, state=states.PRUNED if len(values) == 1 else states.FAIL)
        else:
            self._study.tell(trial, values if len(values) > 1 else values[0], state=states.COMPLETE)
        del self._trials[trial_id]

    def _learn_from_foreign(self, trial_id: str, result: dict[str, Any] | None, error: bool) -> None:
        """A trial of a run that was killed after its suggestion was last saved: its result holds the configuration."""
        if trial_id in self._ended or error or not result or self._study is None or callable(self._space):
            return
        self._ended.add(trial_id)
        values = [result.get(metric) for metric in self._metrics]
        config = {key.removeprefix("config/"): value for key, value in result.items() if key.startswith("config/")}
        if all(value is not None for value in values) and set(self._distributions()) <= set(config):
            self.add_evaluated_point(config, values if len(values) > 1 else values[0])

    def add_evaluated_point(
        self,
        parameters: dict[str, Any],
        value: Any,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: list[float] | None = None,
    ) -> None:
        if not self._space or self._study is None:
            raise RuntimeError("OptunaSearch needs space, metric and mode before it can learn")
        if callable(self._space):
            raise TypeError("evaluated points need a space of distributions; this one is defined by running a function")
        states = self._optuna.trial.TrialState
        state = states.FAIL if error else states.PRUNED if pruned else states.COMPLETE
        flat = flatten_dict(parameters, flatten_list=True)
        distributions = self._distributions()
        several = isinstance(value, (list, tuple))
        self._study.add_trial(
            self._optuna.trial.create_trial(
                state=state,
                value=None if several or state != states.COMPLETE else value,
                values=list(value) if several and state == states.COMPLETE else None,
                params={name: flat[name] for name in distributions},
                distributions=distributions,
                intermediate_values=dict(enumerate(intermediate_values)) if intermediate_values else None,
            )
        )

    def get_state(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_optuna"}

    @staticmethod
    def convert_search_space(spec: dict[str, Any]) -> dict[str, Any]:
        """The domains of ``spec`` as Optuna distributions, by flat name. Raises ValueError for grids and ``sample_from``."""
        optuna = import_extra("optuna", "OptunaSearch")
        _, domains = check_no_grid(spec, "OptunaSearch")
        return {flat_name(path): _distribution(optuna, path, domain) for path, domain in domains}


def _default_sampler(optuna: Any, seed: int | None) -> Any:
    """TPE over all hyperparameters together, and over each branch of a conditional space apart."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True)


class _WithOldNames:
    """An Optuna trial that also has the methods of earlier versions, which space functions still call."""

    def __init__(self, trial: Any) -> None:
        self._trial = trial

    def suggest_loguniform(self, name: str, low: float, high: float) -> float:
        return float(self._trial.suggest_float(name, low, high, log=True))

    def suggest_uniform(self, name: str, low: float, high: float) -> float:
        return float(self._trial.suggest_float(name, low, high))

    def suggest_discrete_uniform(self, name: str, low: float, high: float, q: float) -> float:
        return float(self._trial.suggest_float(name, low, high, step=q))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trial, name)


def _constants_of(space: dict[str, Any]) -> dict[str, Any]:
    """What is not a distribution, by flat name."""
    from optuna.distributions import BaseDistribution

    return {name: value for name, value in flatten_dict(space).items() if not isinstance(value, BaseDistribution)}


def _distribution(optuna: Any, path: tuple[Any, ...], domain: Domain) -> Any:
    sampler, quantum = unquantized(domain)
    if isinstance(domain, Categorical):
        return optuna.distributions.CategoricalDistribution(domain.categories)
    if isinstance(sampler, Normal) or domain.is_function():
        raise ValueError(f"Optuna does not draw from {type(domain).__name__} with {sampler}, but got it for {path}")
    log = isinstance(sampler, LogUniform)
    if isinstance(domain, Float):
        return optuna.distributions.FloatDistribution(domain.lower, domain.upper, step=None if log else quantum, log=log)
    if isinstance(domain, Integer):
        return optuna.distributions.IntDistribution(
            domain.lower, domain.upper - 1, step=1 if log else int(quantum or 1), log=log
        )
    raise ValueError(f"Optuna does not draw from {type(domain).__name__}, but got it for {path}")
