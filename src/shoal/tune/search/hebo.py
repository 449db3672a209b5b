"""HEBO: Bayesian optimization with heteroscedastic, warped Gaussian processes, in batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from shoal.tune.run_config import check_count
from shoal.tune.search.adapter import AdapterSearcher, cannot_draw
from shoal.tune.search.extras import import_extra
from shoal.tune.search.points import FlatSpace, same, unquantized
from shoal.tune.search.sample import Categorical, Domain, Float, Integer, LogUniform, Normal


class HEBOSearch(AdapterSearcher):
    """Suggestions of HEBO, ``max_concurrent`` at a time: the next ones are drawn when all of these have ended.

    ``space``: domains, or a ``DesignSpace`` of HEBO. ``points_to_evaluate`` are tried first, or, with ``evaluated_rewards``
    (one for each), learned from. ``random_state_seed`` seeds numpy and torch, whose global generators HEBO uses. Other
    arguments go to HEBO.
    """

    def __init__(
        self,
        space: Any = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        evaluated_rewards: list[float] | None = None,
        random_state_seed: int | None = None,
        max_concurrent: int = 8,
        **kwargs: Any,
    ) -> None:
        self._library = import_extra("hebo.optimizers.hebo", "HEBOSearch", package="HEBO")
        super().__init__(space, metric, mode, None if evaluated_rewards else points_to_evaluate)
        check_count("max_concurrent", max_concurrent, 1)
        rewards, points = evaluated_rewards or [], points_to_evaluate or []
        if rewards and len(rewards) != len(points):
            raise ValueError(
                f"evaluated_rewards must have a number for each of points_to_evaluate, but got {len(rewards)} for {len(points)}"
            )
        self._evaluated = list(zip(points, rewards, strict=False))
        self._seed = random_state_seed
        self._batch_size = max_concurrent
        self._batch: list[dict[str, Any]] = []
        self._arguments = kwargs
        self._optimizer: Any = None

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        self._batch_size = max_concurrent
        return True

    def _prepare(self) -> None:
        if self._seed is not None:
            np.random.seed(self._seed)
            import_extra("torch", "HEBOSearch").manual_seed(self._seed)
        described = _design_space(self._space) if self._space is not None else self._own_space
        self._optimizer = self._library.HEBO(described, **self._arguments)
        for point, reward in self._evaluated:
            self.add_evaluated_point(point, reward)
        self._evaluated = []

    def _ask(self, point: dict[str, Any] | None) -> tuple[Any, dict[str, Any]] | None:
        if len(self._live) >= self._batch_size:
            return None
        if point is not None:
            values = self._coded(point)
        elif self._batch or not self._live:
            self._batch = self._batch or self._optimizer.suggest(n_suggestions=self._batch_size).to_dict("records")
            values = self._batch.pop(0)
        else:
            return None
        return values, self._decoded(values)

    def _tell(self, handle: Any, loss: float | None, result: dict[str, Any] | None) -> None:
        if loss is not None:
            frame = import_extra("pandas", "HEBOSearch").DataFrame([handle])
            self._optimizer.observe(frame, np.array([[loss]]))

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
        point = self._space.flat_point(parameters) if self._space is not None else parameters
        self._tell(self._coded(point), None if error or pruned else self.loss_of({self.metric: value}), None)

    # HEBO keeps its points in pandas frames, which change values like None: it is given the index of a category.
    def _coded(self, values: dict[str, Any]) -> dict[str, Any]:
        categories = self._categories()
        return {
            name: next((index for index, one in enumerate(categories[name]) if same(one, value)), value)
            if name in categories
            else value
            for name, value in values.items()
        }

    def _decoded(self, values: dict[str, Any]) -> dict[str, Any]:
        categories = self._categories()
        return {name: categories[name][int(value)] if name in categories else value for name, value in values.items()}

    def _categories(self) -> dict[str, list[Any]]:
        domains = self._space.domains if self._space is not None else {}
        return {name: list(domain.categories) for name, domain in domains.items() if isinstance(domain, Categorical)}

    @staticmethod
    def convert_search_space(spec: dict[str, Any]) -> Any:
        """The domains of ``spec`` as a DesignSpace, categories by their index. Raises ValueError for grids."""
        return _design_space(FlatSpace(spec, "HEBOSearch"))


def _design_space(space: FlatSpace) -> Any:
    design_space = import_extra("hebo.design_space.design_space", "HEBOSearch", package="HEBO").DesignSpace()
    return design_space.parse([_parameter(name, domain) for name, domain in space.domains.items()])


def _parameter(name: str, domain: Domain) -> dict[str, Any]:
    if isinstance(domain, Categorical):
        return {"name": name, "type": "cat", "categories": list(range(len(domain.categories)))}
    sampler, _ = unquantized(domain)
    if isinstance(sampler, Normal) or not isinstance(domain, (Float, Integer)):
        raise cannot_draw("HEBO", name, domain)
    is_integer = isinstance(domain, Integer)
    is_log = isinstance(sampler, LogUniform)
    kind = ("pow_int" if is_log else "int") if is_integer else ("pow" if is_log else "num")
    return {"name": name, "type": kind, "lb": domain.lower, "ub": domain.upper - 1 if is_integer else domain.upper}
