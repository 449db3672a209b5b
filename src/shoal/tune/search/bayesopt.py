"""Bayesian optimization with a Gaussian process, of the package bayesian-optimization."""

from __future__ import annotations

import json
import math
import warnings
from typing import Any

from shoal.tune.flatten import unflatten_dict
from shoal.tune.run_config import check_count
from shoal.tune.search.adapter import AdapterSearcher, cannot_draw
from shoal.tune.search.extras import import_extra
from shoal.tune.search.points import FlatSpace, same, unquantized
from shoal.tune.search.sample import Float, LogUniform, Normal


class BayesOptSearch(AdapterSearcher):
    """Suggestions for real hyperparameters between bounds; other domains raise ValueError.

    ``space``: domains, or ``{name: (low, high)}``. The first ``random_search_steps`` are drawn at random. A point that was
    suggested already is not tried again with ``skip_duplicate``; after ``patience`` of them in a row the search is finished.
    ``utility_kwargs``: ``{"kind": "ucb", "kappa": 2.5, "xi": 0.0}``; kind may also be "ei" or "poi". ``analysis``: finished
    trials to learn from. ``repeat_float_precision``: how many decimals must agree for a point to be the same.
    """

    def __init__(
        self,
        space: dict[str, Any] | None = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        utility_kwargs: dict[str, Any] | None = None,
        random_state: int = 42,
        random_search_steps: int = 10,
        verbose: int = 0,
        patience: int = 5,
        skip_duplicate: bool = True,
        analysis: Any = None,
        repeat_float_precision: int = 5,
    ) -> None:
        self._library = import_extra("bayes_opt", "BayesOptSearch", package="bayesian-optimization")
        super().__init__(_with_domains(space), metric, mode, points_to_evaluate)
        if patience < 1:
            raise ValueError(f"patience must be >= 1, but got patience={patience}")
        check_count("repeat_float_precision", repeat_float_precision, 0)
        settings = {"kind": "ucb", "kappa": 2.5, "xi": 0.0, **(utility_kwargs or {})}
        if set(settings) != {"kind", "kappa", "xi"} or settings["kind"] not in ("ucb", "ei", "poi"):
            raise ValueError(f"utility_kwargs must be a kind of 'ucb', 'ei' or 'poi', kappa and xi, but got {utility_kwargs!r}")
        self._utility = settings
        self._random_state = random_state
        self._random_steps = random_search_steps
        self._verbose = verbose
        self._patience = patience
        self._skip_duplicate = skip_duplicate
        self._decimals = repeat_float_precision
        self._seen: set[str] = set()
        self._repeated = 0
        self._optimizer: Any = None
        self._suggest_next: Any = None
        self._logarithmic: set[str] = set()
        self._earlier = analysis

    def _prepare(self) -> None:
        assert self._space is not None
        self._logarithmic = {
            name for name, domain in self._space.domains.items() if isinstance(unquantized(domain)[0], LogUniform)
        }
        bounds = {name: (self._inner(name, low), self._inner(name, high)) for name, (low, high) in _bounds(self._space).items()}
        common = {"f": None, "pbounds": bounds, "verbose": self._verbose, "random_state": self._random_state}
        if hasattr(self._library, "acquisition"):  # version 2 and later
            optimizer = self._library.BayesianOptimization(acquisition_function=self._acquisition(), **common)
            self._suggest_next = optimizer.suggest
        else:
            utility = self._library.UtilityFunction(**self._utility)
            optimizer = self._library.BayesianOptimization(**common)
            self._suggest_next = _SuggestWith(optimizer, utility)
        optimizer.set_gp_params(alpha=1e-6)
        self._optimizer = optimizer
        if self._earlier is not None:
            self.add_evaluated_trials(self._earlier, self.metric)
            self._earlier = None

    def _acquisition(self) -> Any:
        kind, kappa, xi = self._utility["kind"], self._utility["kappa"], self._utility["xi"]
        acquisition = self._library.acquisition
        if kind == "ucb":
            return acquisition.UpperConfidenceBound(kappa=kappa)
        return (acquisition.ExpectedImprovement if kind == "ei" else acquisition.ProbabilityOfImprovement)(xi=xi)

    def suggest(self, trial_id: str) -> Any:
        if self._repeated > self._patience:
            return self.FINISHED
        return super().suggest(trial_id)

    def _ask(self, point: dict[str, Any] | None) -> tuple[Any, dict[str, Any]] | None:
        values = {name: self._inner(name, value) for name, value in point.items()} if point else self._next_values()
        key = json.dumps({name: round(float(value), self._decimals) for name, value in values.items()}, sort_keys=True)
        if key in self._seen:
            self._repeated += 1
            if self._skip_duplicate:
                return None
        else:
            self._repeated = 0
        self._seen.add(key)
        return values, {name: math.exp(value) if name in self._logarithmic else value for name, value in values.items()}

    def _inner(self, name: str, value: Any) -> float:
        """A value as the Gaussian process sees it."""
        return math.log(value) if name in self._logarithmic else float(value)

    def _next_values(self) -> dict[str, Any]:
        if len(self._seen) < self._random_steps:
            space = self._optimizer.space if hasattr(self._optimizer, "space") else self._optimizer._space
            return dict(space.array_to_params(space.random_sample()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a Gaussian process of few points warns about itself
            return dict(self._suggest_next())

    def _tell(self, handle: Any, loss: float | None, result: dict[str, Any] | None) -> None:
        if loss is not None:
            self._register(handle, -loss)

    def _register(self, values: dict[str, Any], target: float) -> None:
        if not any(same(values, known["params"]) for known in self._optimizer.res):
            self._optimizer.register(params=values, target=target)

    def add_evaluated_point(
        self,
        parameters: dict[str, Any],
        value: float,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: list[float] | None = None,
    ) -> None:
        """Learns from a configuration evaluated elsewhere, when that was successful."""
        self._prepare_once()
        loss = None if error or pruned else self.loss_of({self.metric: value})
        if loss is not None and self._space is not None:
            values = self._space.flat_point(parameters)
            self._register({name: self._inner(name, item) for name, item in values.items()}, -loss)

    def register_analysis(self, analysis: Any) -> None:
        """Learns from the finished trials of an ExperimentAnalysis."""
        self._prepare_once()
        self.add_evaluated_trials(analysis, self.metric)

    @staticmethod
    def convert_search_space(spec: dict[str, Any], join: bool = False) -> dict[str, Any]:
        """The bounds of the domains of ``spec`` by flat name (``join`` adds what else is in it). Raises ValueError for what is
        not a range of real numbers."""
        bounds = _bounds(FlatSpace(spec, "BayesOptSearch"))
        return {**spec, **bounds} if join else bounds


class _SuggestWith:
    """``optimizer.suggest`` with the utility function that versions before 2 want."""

    def __init__(self, optimizer: Any, utility: Any) -> None:
        self._optimizer = optimizer
        self._utility = utility

    def __call__(self) -> Any:
        return self._optimizer.suggest(self._utility)


def _with_domains(space: dict[str, Any] | None) -> dict[str, Any] | None:
    """``space`` with a domain, nested by its name, in the place of each pair of bounds."""
    if space is None:
        return None
    domains = {
        name: Float(*value).uniform() if isinstance(value, tuple) and len(value) == 2 else value
        for name, value in space.items()
    }
    nested: dict[str, Any] = unflatten_dict(domains)
    return nested


def _bounds(space: FlatSpace) -> dict[str, tuple[float, float]]:
    bounds = {}
    for name, domain in space.domains.items():
        sampler, _ = unquantized(domain)
        if not isinstance(domain, Float) or isinstance(sampler, Normal):
            raise cannot_draw("BayesOptSearch", name, domain)
        bounds[name] = (domain.lower, domain.upper)
    return bounds
