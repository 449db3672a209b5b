"""What the adapters of search libraries have in common."""

from __future__ import annotations

import math
from typing import Any

from shoal.tune.flatten import flatten_dict
from shoal.tune.search.sample import Domain, Quantized, Sampler
from shoal.tune.search.searcher import UNRESOLVED_SEARCH_SPACE
from shoal.tune.search.variant_generator import parse_spec_vars


def check_no_grid(space: dict[str, Any], searcher: str) -> tuple[list[Any], list[Any]]:
    """The constants and domains of ``space``; raises ValueError for grids, which a model-based searcher cannot draw."""
    constants, domains, grids = parse_spec_vars(space)
    if grids:
        names = ["/".join(map(str, path)) for path, _ in grids]
        raise ValueError(f"grid_search is for grid and random search, but got {names} for {searcher}")
    return constants, domains


def require_domains(space: Any, searcher: str) -> None:
    """Raises ValueError for an empty space."""
    if not space:
        raise ValueError(f"{searcher} needs a space with at least one domain, but got space={space!r}")


def unquantized(domain: Domain) -> tuple[Sampler, float | None]:
    """The sampler of ``domain`` without its quantization, and the quantum."""
    sampler = domain.get_sampler()
    if isinstance(sampler, Quantized):
        return sampler.get_sampler(), sampler.q
    return sampler, None


def score_of(result: dict[str, Any] | None, metric: str) -> float | None:
    """The metric as a finite number; None when the trial has not reported one."""
    if not result or metric not in result:
        return None
    value = float(result[metric])
    return value if math.isfinite(value) else None


def flat_points(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [dict(flatten_dict(point)) for point in points]


def unresolved_message(searcher: str) -> str:
    return UNRESOLVED_SEARCH_SPACE.format(par="space", cls=searcher, space="space")
