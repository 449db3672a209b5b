"""Search: which configurations are tried."""

from __future__ import annotations

from typing import Any

from shoal.tune.search.basic_variant import BasicVariantGenerator
from shoal.tune.search.concurrency_limiter import ConcurrencyLimiter
from shoal.tune.search.repeater import Repeater
from shoal.tune.search.search_algorithm import SearchAlgorithm
from shoal.tune.search.search_generator import SearchGenerator
from shoal.tune.search.searcher import UNRESOLVED_SEARCH_SPACE, Searcher
from shoal.tune.search.variant_generator import grid_search

SEARCH_ALGORITHMS = {
    "variant_generator": "basic_variant:BasicVariantGenerator",
    "random": "basic_variant:BasicVariantGenerator",
    "optuna": "optuna:OptunaSearch",
    "hyperopt": "hyperopt:HyperOptSearch",
    "ax": "ax:AxSearch",
    "bohb": "bohb:TuneBOHB",
    "nevergrad": "nevergrad:NevergradSearch",
    "bayesopt": "bayesopt:BayesOptSearch",
    "zoopt": "zoopt:ZOOptSearch",
    "hebo": "hebo:HEBOSearch",
}


def create_searcher(search_alg: str, **kwargs: Any) -> Any:
    """The searcher of that name; arguments that it does not take are left out. Raises ValueError for an unknown name."""
    from shoal.tune.schedulers.by_name import create_by_name

    return create_by_name("search_alg", SEARCH_ALGORITHMS, "shoal.tune.search", search_alg, kwargs)


__all__ = [
    "UNRESOLVED_SEARCH_SPACE",
    "BasicVariantGenerator",
    "ConcurrencyLimiter",
    "Repeater",
    "SearchAlgorithm",
    "SearchGenerator",
    "Searcher",
    "create_searcher",
    "grid_search",
]
