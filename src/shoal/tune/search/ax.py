"""Ax: Bayesian optimization with Gaussian processes."""

from __future__ import annotations

from typing import Any

from shoal.tune.flatten import flatten_dict, unflatten_list_dict
from shoal.tune.result import DEFAULT_METRIC
from shoal.tune.search.extras import import_extra
from shoal.tune.search.points import check_no_grid, score_of, unquantized
from shoal.tune.search.sample import Categorical, Domain, Float, Integer, LogUniform, Normal
from shoal.tune.search.searcher import Searcher, warn_unsupported


class AxSearch(Searcher):
    """Suggestions of an ``AxClient``.

    ``space``: domains, or Ax's own list of parameter dictionaries. ``ax_client``: a client with an experiment of its own.
    ``parameter_constraints`` and ``outcome_constraints`` are Ax's. Other arguments go to ``AxClient``.
    """

    def __init__(
        self,
        space: dict[str, Any] | list[dict[str, Any]] | None = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        parameter_constraints: list[str] | None = None,
        outcome_constraints: list[str] | None = None,
        ax_client: Any = None,
        **ax_kwargs: Any,
    ) -> None:
        self._service = import_extra("ax.service.ax_client", "AxSearch", package="ax-platform")
        super().__init__(metric=metric, mode=mode)
        self._client = ax_client
        self._arguments = ax_kwargs
        self._points = self.copy_points(points_to_evaluate)
        self._parameter_constraints = parameter_constraints or []
        self._outcome_constraints = outcome_constraints or []
        self._space = self.convert_search_space(space) if isinstance(space, dict) and space else space
        self._live: dict[str, int] = {}
        if self._client is not None or (self._space and mode):
            self._setup()

    def _setup(self) -> None:
        if self._client is None:
            self._client = self._service.AxClient(**self._arguments)
        if self._client._experiment is None:
            objective = self._service.ObjectiveProperties(minimize=self._mode == "min")
            self._client.create_experiment(
                parameters=self._space,
                objectives={self._metric or DEFAULT_METRIC: objective},
                parameter_constraints=self._parameter_constraints,
                outcome_constraints=self._outcome_constraints,
            )

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        if self._client is not None:
            return False
        self._space = self._space or self.convert_search_space(config)
        self._metric = metric or self._metric
        self._mode = mode or self._mode or "max"
        self._setup()
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if self._client is None:
            raise RuntimeError("AxSearch needs a space, a metric and a mode: give them to the run, or to AxSearch")
        if self._points:
            parameters, index = self._client.attach_trial(flatten_dict(self._points.pop(0)))
        else:
            try:
                parameters, index = self._client.get_next_trial()
            except import_extra("ax.exceptions.generation_strategy", "AxSearch", "ax-platform").MaxParallelismReachedException:
                return None
        self._live[trial_id] = index
        nested: dict[str, Any] = unflatten_list_dict(parameters)
        return nested

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        index = self._live.pop(trial_id, None)
        if index is None:
            return
        metric = self.metric or DEFAULT_METRIC
        score = score_of(result, metric)
        if error or score is None:
            self._client.abandon_trial(trial_index=index, reason="the trial failed or reported no finite score")
            return
        assert result is not None
        names = [metric, *(constraint.split()[0] for constraint in self._outcome_constraints)]
        self._client.complete_trial(
            trial_index=index, raw_data={name: (result[name], None) for name in names if name in result}
        )

    @staticmethod
    def convert_search_space(spec: dict[str, Any]) -> list[dict[str, Any]]:
        """The parameters of ``spec`` as Ax describes them. Raises ValueError for grids."""
        constants, domains = check_no_grid(spec, "AxSearch")
        fixed = [{"name": _name(path), "type": "fixed", "value": value} for path, value in constants]
        return fixed + [_parameter(_name(path), domain) for path, domain in domains]


def _name(path: tuple[Any, ...]) -> str:
    return "/".join(str(key) for key in path)


def _parameter(name: str, domain: Domain) -> dict[str, Any]:
    sampler, quantum = unquantized(domain)
    if quantum is not None:
        warn_unsupported("AxSearch", f"quantization ({name})")
    if isinstance(domain, Categorical):
        return {"name": name, "type": "choice", "values": domain.categories}
    if isinstance(sampler, Normal) or not isinstance(domain, (Float, Integer)):
        raise ValueError(f"Ax does not draw from {type(domain).__name__} with {sampler}, but got it for {name!r}")
    upper = domain.upper - 1 if isinstance(domain, Integer) else domain.upper
    kind = "int" if isinstance(domain, Integer) else "float"
    return {
        "name": name,
        "type": "range",
        "bounds": [domain.lower, upper],
        "value_type": kind,
        "log_scale": isinstance(sampler, LogUniform),
    }
