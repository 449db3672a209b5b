"""What the adapters of search libraries have in common: a space as flat names, and the way back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from shoal.tune.flatten import copy_containers
from shoal.tune.search.sample import Categorical, Domain, Float, Integer, Quantized, Sampler
from shoal.tune.search.variant_generator import assign_value, get_value, parse_spec_vars


class FlatSpace:
    """The domains of a nested space by flat name (``"layers/0/width"``), and configurations made of values by flat name.

    Raises ValueError for grids, and for a space without domains, naming ``searcher``.
    """

    def __init__(self, space: dict[str, Any], searcher: str) -> None:
        _, found = check_no_grid(space, searcher)
        slashed = [key for path, _ in found for key in path if "/" in str(key)]
        if slashed:
            raise ValueError(f"names must not hold '/', which stands between the names of nested ones, but got {slashed}")
        if not found:
            raise ValueError(f"{searcher} needs a space with at least one domain, but got space={space!r}")
        self._space = space
        self._paths = {flat_name(path): path for path, _ in found}
        self.domains: dict[str, Domain] = {flat_name(path): domain for path, domain in found}

    def filled(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration: the space with ``values`` in the place of its domains, rounded where a domain is quantized."""
        config: dict[str, Any] = copy_containers(self._space)
        for name, path in self._paths.items():
            assign_value(config, path, _fitting(self.domains[name], values[name]))
        return config

    def flat_point(self, point: dict[str, Any]) -> dict[str, Any]:
        """The values of a configuration by flat name; raises ValueError when it lacks one."""
        values = {}
        for name, path in self._paths.items():
            try:
                values[name] = get_value(point, path)
            except (KeyError, IndexError, TypeError):
                missing = name
                raise ValueError(
                    f"points_to_evaluate must name every hyperparameter, but got {point} without {missing!r}"
                ) from None
        return values


def flat_name(path: Iterable[Any]) -> str:
    return "/".join(map(str, path))


def _fitting(domain: Domain, value: Any) -> Any:
    """``value``, which a library has drawn, as a value of ``domain``."""
    value = plain_value(value)
    if isinstance(domain, Categorical):
        return next((category for category in domain.categories if same(category, value)), value)
    sampler = domain.get_sampler()
    if isinstance(sampler, Quantized) and isinstance(domain, (Float, Integer)):
        highest = domain.upper - 1 if isinstance(domain, Integer) else domain.upper
        low, high = math.ceil(domain.lower / sampler.q - 1e-9), math.floor(highest / sampler.q + 1e-9)
        value = round(min(max(round(value / sampler.q), low), high) * sampler.q, 12)
    return domain.cast(round(value) if isinstance(domain, Integer) else value)


def same(first: Any, second: Any) -> bool:
    """Whether two values are equal; arrays and the like, whose comparison is no truth value, are when they are the same."""
    try:
        return first is second or bool(first == second)
    except ValueError:
        return False


def plain_value(value: Any) -> Any:
    """``value`` with plain numbers and texts in the place of numpy's."""
    if isinstance(value, dict):
        return {key: plain_value(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(plain_value(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value


def check_no_grid(space: dict[str, Any], searcher: str) -> tuple[list[Any], list[Any]]:
    """The constants and domains of ``space``; raises ValueError for grids, which a model-based searcher cannot draw."""
    constants, domains, grids = parse_spec_vars(space)
    if grids:
        names = [flat_name(path) for path, _ in grids]
        raise ValueError(f"grid_search is for grid and random search, but got {names} for {searcher}")
    return constants, domains


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
