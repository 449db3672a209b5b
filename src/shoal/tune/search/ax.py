"""Ax: Bayesian optimization with Gaussian processes."""

from __future__ import annotations

from typing import Any

from shoal.tune.result import DEFAULT_METRIC
from shoal.tune.search.adapter import AdapterSearcher, cannot_draw
from shoal.tune.search.extras import import_extra
from shoal.tune.search.points import FlatSpace, unquantized
from shoal.tune.search.sample import Categorical, Domain, Float, Integer, LogUniform, Normal


class AxSearch(AdapterSearcher):
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
        self._library = import_extra("ax.service.ax_client", "AxSearch", package="ax-platform")
        super().__init__(space, metric, mode, points_to_evaluate)
        if ax_client is not None and ax_kwargs:
            raise ValueError(f"ax_client is complete: it takes no further arguments, but got {sorted(ax_kwargs)}")
        self._client = ax_client
        self._arguments = ax_kwargs
        self._parameter_constraints = parameter_constraints or []
        self._outcome_constraints = outcome_constraints or []

    @property
    def has_space(self) -> bool:
        return super().has_space or (self._client is not None and self._client._experiment is not None)

    def _prepare(self) -> None:
        if self._client is None:
            self._client = self._library.AxClient(**self._arguments)
        if self._client._experiment is None:
            objective = self._library.ObjectiveProperties(minimize=self.mode == "min")
            self._client.create_experiment(
                parameters=_parameters(self._space) if self._space is not None else self._own_space,
                objectives={self.metric or DEFAULT_METRIC: objective},
                parameter_constraints=self._parameter_constraints,
                outcome_constraints=self._outcome_constraints,
            )

    def _ask(self, point: dict[str, Any] | None) -> tuple[Any, dict[str, Any]] | None:
        if point is not None:
            values, index = self._client.attach_trial(point)
            return index, values
        exceptions = import_extra("ax.exceptions.generation_strategy", "AxSearch", package="ax-platform")
        try:
            values, index = self._client.get_next_trial()
        except exceptions.MaxParallelismReachedException:
            return None
        return index, values

    def _tell(self, handle: Any, loss: float | None, result: dict[str, Any] | None) -> None:
        if loss is None or result is None:
            self._client.abandon_trial(trial_index=handle, reason="the trial failed or reported no finite score")
            return
        names = [self.metric or DEFAULT_METRIC, *(constraint.split()[0] for constraint in self._outcome_constraints)]
        data = {name: (result[name], None) for name in names if name in result}
        self._client.complete_trial(trial_index=handle, raw_data=data)

    @staticmethod
    def convert_search_space(spec: dict[str, Any]) -> list[dict[str, Any]]:
        """The domains of ``spec`` as Ax describes them, without quantization. Raises ValueError for grids."""
        return _parameters(FlatSpace(spec, "AxSearch"))


def _parameters(space: FlatSpace) -> list[dict[str, Any]]:
    return [_parameter(name, domain) for name, domain in space.domains.items()]


def _parameter(name: str, domain: Domain) -> dict[str, Any]:
    sampler, _ = unquantized(domain)
    if isinstance(domain, Categorical):
        return {"name": name, "type": "choice", "values": domain.categories}
    if isinstance(sampler, Normal) or not isinstance(domain, (Float, Integer)):
        raise cannot_draw("Ax", name, domain)
    return {
        "name": name,
        "type": "range",
        "bounds": [domain.lower, domain.upper - 1 if isinstance(domain, Integer) else domain.upper],
        "value_type": "int" if isinstance(domain, Integer) else "float",
        "log_scale": isinstance(sampler, LogUniform),
    }
