"""Nevergrad: optimization without gradients."""

from __future__ import annotations

from typing import Any

from shoal.tune.flatten import flatten_dict, unflatten_list_dict
from shoal.tune.mode import sign_of
from shoal.tune.result import DEFAULT_METRIC
from shoal.tune.search.extras import import_extra
from shoal.tune.search.points import check_no_grid, score_of, unquantized
from shoal.tune.search.sample import Categorical, Domain, Float, Integer, LogUniform, Normal
from shoal.tune.search.searcher import Searcher, warn_unsupported


class NevergradSearch(Searcher):
    """Suggestions of a Nevergrad optimizer.

    ``optimizer``: a class or an instance of Nevergrad's. ``space``: domains, a Nevergrad parametrization, or (with an
    instance) the list of names of its dimensions.
    """

    def __init__(
        self,
        optimizer: Any = None,
        optimizer_kwargs: dict[str, Any] | None = None,
        space: Any = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
    ) -> None:
        self._nevergrad = import_extra("nevergrad", "NevergradSearch")
        super().__init__(metric=metric, mode=mode)
        self._factory = optimizer if optimizer is not None else self._nevergrad.optimizers.NGOpt
        self._arguments = {"budget": None, **(optimizer_kwargs or {})}
        self._points = self.copy_points(points_to_evaluate)
        self._optimizer: Any = None
        self._live: dict[str, Any] = {}
        if isinstance(optimizer, self._nevergrad.optimizers.base.Optimizer):
            self._optimizer = optimizer
            self._names = space
        elif space:
            self._setup(self.convert_search_space(space) if isinstance(space, dict) else space)

    def _setup(self, parametrization: Any) -> None:
        self._names = None
        self._optimizer = self._factory(parametrization=parametrization, **self._arguments)

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        if self._optimizer is not None:
            return False
        self._metric = metric or self._metric
        self._mode = mode or self._mode or "max"
        self._setup(self.convert_search_space(config))
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if self._optimizer is None:
            raise RuntimeError("NevergradSearch needs a space: give it as the config of the run, or as space=...")
        if self._points:
            self._optimizer.suggest(self._argument(self._points.pop(0)))
        suggested = self._optimizer.ask()
        self._live[trial_id] = suggested
        if self._names:
            return dict(zip(self._names, suggested.args[0], strict=False))
        nested: dict[str, Any] = unflatten_list_dict(suggested.kwargs or suggested.value)
        return nested

    def _argument(self, point: dict[str, Any]) -> Any:
        return [point[name] for name in self._names] if self._names else dict(flatten_dict(point))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        suggested = self._live.pop(trial_id, None)
        score = score_of(result, self.metric or DEFAULT_METRIC)
        if suggested is not None and score is not None and not error:
            self._optimizer.tell(suggested, -sign_of(self.mode or "max") * score)

    def get_state(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_nevergrad"}

    @staticmethod
    def convert_search_space(spec: dict[str, Any]) -> Any:
        """``spec`` as a Nevergrad dictionary. Raises ValueError for grids."""
        nevergrad = import_extra("nevergrad", "NevergradSearch")
        constants, domains = check_no_grid(spec, "NevergradSearch")
        parts = {"/".join(map(str, path)): value for path, value in constants}
        parts.update({"/".join(map(str, path)): _parameter(nevergrad.p, path, domain) for path, domain in domains})
        return nevergrad.p.Dict(**parts)


def _parameter(p: Any, path: tuple[Any, ...], domain: Domain) -> Any:
    sampler, quantum = unquantized(domain)
    if quantum is not None and quantum != 1:
        warn_unsupported("NevergradSearch", f"quantization ({'/'.join(map(str, path))})")
    if isinstance(domain, Categorical):
        return p.Choice(domain.categories)
    if isinstance(sampler, Normal) or not isinstance(domain, (Float, Integer)):
        raise ValueError(f"Nevergrad does not draw from {type(domain).__name__} with {sampler}, but got it for {path}")
    upper = domain.upper - 1 if isinstance(domain, Integer) else domain.upper
    if isinstance(sampler, LogUniform):
        scalar = p.Log(lower=domain.lower, upper=upper)
    else:
        scalar = p.Scalar(lower=domain.lower, upper=upper)
    return scalar.set_integer_casting() if isinstance(domain, Integer) else scalar
