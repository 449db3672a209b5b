"""Nevergrad: optimization without gradients."""

from __future__ import annotations

from typing import Any

from shoal.tune.search.adapter import AdapterSearcher, cannot_draw
from shoal.tune.search.extras import import_extra
from shoal.tune.search.points import FlatSpace, unquantized
from shoal.tune.search.sample import Categorical, Domain, Float, Integer, LogUniform, Normal

_BUDGET = 1000


class NevergradSearch(AdapterSearcher):
    """Suggestions of a Nevergrad optimizer.

    ``optimizer``: a class (default NGOpt) or an instance of Nevergrad's. ``space``: domains, a Nevergrad parametrization, or
    (with an instance) the list of names of its dimensions. ``optimizer_kwargs`` go to the class; its ``budget`` is the run's
    ``num_samples``, or 1000 when that is not known.
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
        self._library = import_extra("nevergrad", "NevergradSearch")
        super().__init__(space, metric, mode, points_to_evaluate)
        self._factory = optimizer if optimizer is not None else self._library.optimizers.NGOpt
        self._arguments = dict(optimizer_kwargs or {})
        self._optimizer: Any = None
        self._names: list[str] | None = None
        if isinstance(optimizer, self._library.optimizers.base.Optimizer):
            if optimizer_kwargs:
                raise ValueError(f"optimizer_kwargs are for a class, but got optimizer={optimizer!r}, an instance")
            self._optimizer = optimizer
            self._names = list(space) if space else None
            self._own_space = optimizer.parametrization
            self._space = None

    def _prepare(self) -> None:
        if self._optimizer is None:
            space = _parametrization(self._library, self._space) if self._space is not None else self._own_space
            budget = self._num_samples if self._num_samples > 0 else _BUDGET
            self._optimizer = self._factory(parametrization=space, **{"budget": budget, **self._arguments})

    def _ask(self, point: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        if point is not None:
            self._optimizer.suggest([point[name] for name in self._names] if self._names else point)
        suggested = self._optimizer.ask()
        if self._names:
            return suggested, dict(zip(self._names, suggested.args[0], strict=True))
        return suggested, suggested.kwargs or suggested.value

    def _tell(self, handle: Any, loss: float | None, result: dict[str, Any] | None) -> None:
        if loss is not None:
            self._optimizer.tell(handle, loss)

    @staticmethod
    def convert_search_space(spec: dict[str, Any]) -> Any:
        """``spec`` as a Nevergrad dictionary. Raises ValueError for grids."""
        nevergrad = import_extra("nevergrad", "NevergradSearch")
        return _parametrization(nevergrad, FlatSpace(spec, "NevergradSearch"))


def _parametrization(nevergrad: Any, space: FlatSpace) -> Any:
    return nevergrad.p.Dict(**{name: _parameter(nevergrad.p, name, domain) for name, domain in space.domains.items()})


def _parameter(p: Any, name: str, domain: Domain) -> Any:
    sampler, _ = unquantized(domain)
    if isinstance(domain, Categorical):
        return p.Choice(domain.categories)
    if isinstance(sampler, Normal) or not isinstance(domain, (Float, Integer)):
        raise cannot_draw("Nevergrad", name, domain)
    upper = domain.upper - 1 if isinstance(domain, Integer) else domain.upper
    if isinstance(sampler, LogUniform):
        scalar = p.Log(lower=domain.lower, upper=upper)
    else:
        scalar = p.Scalar(lower=domain.lower, upper=upper)
    return scalar.set_integer_casting() if isinstance(domain, Integer) else scalar
