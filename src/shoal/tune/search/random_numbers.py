"""One interface over numpy's two kinds of random number generator."""

from __future__ import annotations

import sys
from typing import Any, Union

import numpy as np

RandomState = Union[None, int, "np.random.Generator", "np.random.RandomState", "_BackwardsCompatibleNumpyRng"]

LEGACY_RNG = False
"""Whether seeds make a ``RandomState`` and no ``Generator``. Kept in ``shoal.tune.search.sample``, where it is looked up."""


class _BackwardsCompatibleNumpyRng:
    """Draws from a seeded generator, or from ``numpy.random`` itself (and so from its global seed) when there is none."""

    def __init__(self, generator_or_seed: RandomState = None) -> None:
        if isinstance(generator_or_seed, _BackwardsCompatibleNumpyRng):
            generator_or_seed = generator_or_seed.source
        if generator_or_seed is None or isinstance(generator_or_seed, (np.random.Generator, np.random.RandomState)):
            self.source: Any = generator_or_seed
        elif legacy_seeds():
            self.source = np.random.RandomState(generator_or_seed)
        else:
            self.source = np.random.default_rng(generator_or_seed)

    @property
    def _legacy(self) -> Any:
        return np.random if self.source is None else self.source

    def integers(self, low: int, high: int, size: int | None = None) -> Any:
        if isinstance(self.source, np.random.Generator):
            return self.source.integers(low, high, size=size)
        return self._legacy.randint(low, high, size=size)

    def uniform(self, low: float, high: float, size: int | None = None) -> Any:
        return self._legacy.uniform(low, high, size=size)

    def normal(self, mean: float, sd: float, size: int | None = None) -> Any:
        return self._legacy.normal(mean, sd, size=size)


def legacy_seeds() -> bool:
    """Whether a seed means a ``RandomState``: the switch in ``shoal.tune.search.sample``."""
    module = sys.modules.get("shoal.tune.search.sample")
    return bool(getattr(module, "LEGACY_RNG", LEGACY_RNG))


def generator_for(random_state: RandomState) -> _BackwardsCompatibleNumpyRng:
    """``random_state`` itself when it is one of ours, else a wrapper around it."""
    return (
        random_state if isinstance(random_state, _BackwardsCompatibleNumpyRng) else _BackwardsCompatibleNumpyRng(random_state)
    )
