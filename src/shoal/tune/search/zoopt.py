"""ZOOpt: optimization without gradients by classification (SRACOS)."""

from __future__ import annotations

import math
from typing import Any

from shoal.tune.search.adapter import AdapterSearcher, cannot_draw
from shoal.tune.search.extras import import_extra
from shoal.tune.search.points import FlatSpace, same, unquantized
from shoal.tune.search.sample import Categorical, Domain, Float, Integer, LogUniform, Normal

_PRECISION = 1e-12


class ZOOptSearch(AdapterSearcher):
    """Suggestions of ZOOpt's asynchronous SRACOS.

    ``budget``: how many trials there will be; it decides how many random ones come first. ``dim_dict`` (or ``space``): domains,
    or ZOOpt's own dimensions by name. ``parallel_num``: how many suggestions may be open at a time. Other arguments go to
    ``zoopt.Parameter``.
    """

    def __init__(
        self,
        algo: str = "asracos",
        budget: int | None = None,
        dim_dict: dict[str, Any] | None = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        parallel_num: int = 1,
        space: dict[str, Any] | None = None,
        **parameters: Any,
    ) -> None:
        self._library = import_extra("zoopt", "ZOOptSearch")
        super().__init__(dim_dict if space is None else space, metric, mode, points_to_evaluate)
        if algo.lower() not in ("sracos", "asracos"):
            raise ValueError(f"algo must be 'asracos' or 'sracos', but got algo={algo!r}")
        if budget is not None and budget <= 0:
            raise ValueError(f"budget must be > 0, but got budget={budget}")
        self._budget = budget
        self._parallel = parallel_num
        self._parameters = parameters
        self._names: list[str] = []
        self._logarithmic: set[str] = set()
        self._categories: dict[str, list[Any]] = {}
        self._optimizer: Any = None

    def _prepare(self) -> None:
        if self._space is not None:
            dimensions = {name: self._dimension(name, domain) for name, domain in self._space.domains.items()}
        else:
            dimensions = dict(self._own_space)
        budget = self._budget or (self._num_samples if self._num_samples > 0 else None)
        if budget is None:
            raise ValueError("ZOOptSearch needs the number of trials: budget=..., or a run with num_samples >= 1")
        self._names = list(dimensions)
        tuner = import_extra("zoopt.algos.opt_algorithms.racos.sracos", "ZOOptSearch", package="zoopt").SRacosTune
        self._optimizer = tuner(
            dimension=self._library.Dimension2(list(dimensions.values())),
            parameter=self._library.Parameter(budget=budget, init_samples=self._initial_samples(), **self._parameters),
            parallel_num=self._parallel,
        )

    def _initial_samples(self) -> list[list[Any]] | None:
        """All points to evaluate: ZOOpt suggests them first, and by itself."""
        points = [self._space.flat_point(point) if self._space is not None else point for point in self._points]
        self._points = []
        return [[self._inner(name, point[name]) for name in self._names] for point in points] or None

    def _inner(self, name: str, value: Any) -> Any:
        if name in self._categories:
            return next(index for index, category in enumerate(self._categories[name]) if same(category, value))
        return math.log(value) if name in self._logarithmic else value

    def _dimension(self, name: str, domain: Domain) -> tuple[Any, ...]:
        kinds = self._library.ValueType
        sampler, _ = unquantized(domain)
        if isinstance(domain, Categorical):
            self._categories[name] = domain.categories  # ZOOpt draws with numpy, which makes other values of mixed lists
            return (kinds.GRID, list(range(len(domain.categories))))
        if isinstance(sampler, Normal) or not isinstance(domain, (Float, Integer)):
            raise cannot_draw("ZOOpt", name, domain)
        highest = domain.upper - 1 if isinstance(domain, Integer) else domain.upper
        if isinstance(sampler, LogUniform):
            self._logarithmic.add(name)
            return (kinds.CONTINUOUS, [math.log(domain.lower), math.log(highest)], _PRECISION)
        if isinstance(domain, Integer):
            return (kinds.DISCRETE, [domain.lower, highest], True)
        return (kinds.CONTINUOUS, [domain.lower, highest], _PRECISION)

    def _ask(self, point: dict[str, Any] | None) -> tuple[Any, dict[str, Any]] | str | None:
        solution = self._optimizer.suggest()
        if solution is None and not self._live:
            # After its random ones ZOOpt waits for the last of them to end, also when that has happened already.
            self._optimizer.semaphore = 1
            solution = self._optimizer.suggest()
        if solution is None or isinstance(solution, str):
            return solution  # not now, or FINISHED
        values = dict(zip(self._names, solution.get_x(), strict=True))
        values.update({name: math.exp(values[name]) for name in self._logarithmic})
        values.update({name: categories[int(values[name])] for name, categories in self._categories.items()})
        return solution, values

    def _tell(self, handle: Any, loss: float | None, result: dict[str, Any] | None) -> None:
        # A failed trial counts as the worst there is: ZOOpt waits for each of its suggestions.
        self._optimizer.complete(handle, loss if loss is not None else math.inf)

    @staticmethod
    def convert_search_space(spec: dict[str, Any]) -> dict[str, Any]:
        """The domains of ``spec`` as ZOOpt's dimensions, by flat name; logarithmic ones are in logarithms. Raises ValueError
        for grids."""
        space = FlatSpace(spec, "ZOOptSearch")
        search = ZOOptSearch()
        dimensions = {name: search._dimension(name, domain) for name, domain in space.domains.items()}
        return {**dimensions, **{name: (dimensions[name][0], values) for name, values in search._categories.items()}}
