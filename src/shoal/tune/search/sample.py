"""Search spaces: the sets that hyperparameters are drawn from, and how they are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import numpy as np

from shoal.tune.search.random_numbers import LEGACY_RNG, RandomState, _BackwardsCompatibleNumpyRng, generator_for
from shoal.util.signatures import signature_of

__all__ = [
    "LEGACY_RNG",
    "BaseSampler",
    "Categorical",
    "Domain",
    "Float",
    "Function",
    "Grid",
    "Integer",
    "LogUniform",
    "Normal",
    "Quantized",
    "RandomState",
    "Sampler",
    "Uniform",
    "_BackwardsCompatibleNumpyRng",
    "choice",
    "lograndint",
    "loguniform",
    "qlograndint",
    "qloguniform",
    "qrandint",
    "qrandn",
    "quniform",
    "randint",
    "randn",
    "sample_from",
    "uniform",
]


class Sampler:
    """How values are drawn from a domain."""

    def draw(self, domain: Any, size: int, generator: Any) -> Any:
        """``size`` raw values of ``domain``, before they are cast."""
        raise NotImplementedError(f"{type(self).__name__} cannot draw from {type(domain).__name__}")

    def sample(self, domain: Domain, config: Any = None, size: int = 1, random_state: RandomState = None) -> Any:
        """One value (``size`` 1) or a list of ``size`` values of ``domain``."""
        generator = generator_for(random_state)
        values = [domain.cast(value) for value in self.draw(domain, size, generator)]
        return values[0] if size == 1 else values


class BaseSampler(Sampler):
    def __str__(self) -> str:
        return "Base"


class Uniform(Sampler):
    """Every value is as likely as any other."""

    def __str__(self) -> str:
        return "Uniform"

    def draw(self, domain: Any, size: int, generator: Any) -> Any:
        if isinstance(domain, Categorical):
            return [domain.categories[index] for index in generator.integers(0, len(domain.categories), size=size)]
        if isinstance(domain, Integer):
            return generator.integers(domain.lower, domain.upper, size=size)
        if domain.lower == float("-inf"):
            raise ValueError(f"uniform needs a lower bound, but got lower={domain.lower}")
        if domain.upper == float("inf"):
            raise ValueError(f"uniform needs an upper bound, but got upper={domain.upper}")
        return generator.uniform(domain.lower, domain.upper, size=size)


class LogUniform(Sampler):
    """The logarithm of the values is uniform."""

    def __init__(self, base: float = 10) -> None:
        if base <= 0 or base == 1:
            raise ValueError(f"base must be > 0 and not 1, but got base={base}")
        self.base = base

    def __str__(self) -> str:
        return "LogUniform"

    def draw(self, domain: Any, size: int, generator: Any) -> Any:
        logs = generator.uniform(np.log(domain.lower), np.log(domain.upper), size=size)
        return np.clip(np.exp(logs), domain.lower, domain.upper - 1 if isinstance(domain, Integer) else domain.upper)


class Normal(Sampler):
    """A normal distribution with mean ``mean`` and standard deviation ``sd``."""

    def __init__(self, mean: float = 0.0, sd: float = 1.0) -> None:
        if sd <= 0:
            raise ValueError(f"sd must be > 0, but got sd={sd}")
        self.mean = mean
        self.sd = sd

    def __str__(self) -> str:
        return "Normal"

    def draw(self, domain: Any, size: int, generator: Any) -> Any:
        return generator.normal(self.mean, self.sd, size=size)


class Grid(Sampler):
    """Not drawn at all: every category becomes a grid point."""

    def __str__(self) -> str:
        return "Grid"

    def sample(self, domain: Domain, config: Any = None, size: int = 1, random_state: RandomState = None) -> Any:
        raise RuntimeError("a grid is not sampled: its values are all used, one after the other")


class Quantized(Sampler):
    """Draws with ``sampler``, then rounds to multiples of ``q`` that lie inside of the domain."""

    def __init__(self, sampler: Sampler | None, q: float) -> None:
        if not q > 0:
            raise ValueError(f"q must be > 0, but got q={q}")
        self.sampler = sampler or Uniform()
        self.q = q

    def __str__(self) -> str:
        return f"Quantized({self.sampler}, q={self.q})"

    def get_sampler(self) -> Sampler:
        return self.sampler

    def sample(self, domain: Domain, config: Any = None, size: int = 1, random_state: RandomState = None) -> Any:
        if self.q == 1 and isinstance(domain, Integer):
            return self.sampler.sample(domain, config, size, random_state)
        inner = copy(domain)
        if isinstance(inner, Float):
            inner.lower = float(np.round(np.ceil(inner.lower / self.q - 1e-9) * self.q, 13))
            inner.upper = float(np.round(np.floor(inner.upper / self.q + 1e-9) * self.q, 13))
        elif isinstance(inner, Integer):
            inner.lower = int(-(-inner.lower // self.q) * self.q)
            inner.upper = int((inner.upper - 1) // self.q * self.q) + 1
        values = np.asarray(self.sampler.draw(inner, size, generator_for(random_state)))
        rounded = np.round(np.divide(values, self.q)) * self.q
        highest = inner.upper - 1 if isinstance(inner, Integer) else getattr(inner, "upper", np.inf)
        cast = [domain.cast(value) for value in np.clip(rounded, getattr(inner, "lower", -np.inf), highest)]
        return cast[0] if size == 1 else cast


class Domain:
    """A set that values are drawn from. Instances stand in a search space where the value will be."""

    sampler: Sampler | None = None
    default_sampler_cls: type[Sampler] = Uniform

    def cast(self, value: Any) -> Any:
        """``value`` as the domain's own type."""
        return value

    def set_sampler(self, sampler: Sampler, allow_override: bool = False) -> None:
        """Raises ValueError when there is a sampler already and ``allow_override`` is False."""
        if self.sampler is not None and not allow_override:
            raise ValueError(
                f"a domain takes one sampler, but got {sampler} for {type(self).__name__} which has {self.sampler} already"
            )
        self.sampler = sampler

    def get_sampler(self) -> Sampler:
        return self.sampler or self.default_sampler_cls()

    def sample(self, config: Any = None, size: int = 1, random_state: RandomState = None) -> Any:
        """One value, or a list of ``size`` values. ``random_state``: a seed, a numpy generator, or None for numpy's own."""
        return self.get_sampler().sample(self, config=config, size=size, random_state=random_state)

    def is_grid(self) -> bool:
        return isinstance(self.sampler, Grid)

    def is_function(self) -> bool:
        return False

    def is_valid(self, value: Any) -> bool:
        """Whether ``value`` could have been drawn from here."""
        raise NotImplementedError(f"{type(self).__name__} does not say which values are valid")

    @property
    def domain_str(self) -> str:
        return "(unknown)"


class Float(Domain):
    """Real numbers in ``[lower, upper)``; None is unbounded."""

    def __init__(self, lower: float | None, upper: float | None) -> None:
        self.lower = float("-inf") if lower is None else lower
        self.upper = float("inf") if upper is None else upper
        if np.isnan(self.lower) or np.isnan(self.upper):
            raise ValueError(f"bounds must be numbers, but got lower={lower}, upper={upper}")

    def cast(self, value: Any) -> float:
        return float(value)

    def _with(self, sampler: Sampler) -> Float:
        new = copy(self)
        new.set_sampler(sampler)
        return new

    def uniform(self) -> Float:
        if not self.lower > float("-inf"):
            raise ValueError(f"uniform needs a lower bound, but got lower={self.lower}")
        if not self.upper < float("inf"):
            raise ValueError(f"uniform needs an upper bound, but got upper={self.upper}")
        return self._with(Uniform())

    def loguniform(self, base: float = 10) -> Float:
        if not self.lower > 0:
            raise ValueError(f"loguniform needs a lower bound > 0, but got lower={self.lower}")
        if not 0 < self.upper < float("inf"):
            raise ValueError(f"loguniform needs an upper bound, but got upper={self.upper}")
        return self._with(LogUniform(base))

    def normal(self, mean: float = 0.0, sd: float = 1.0) -> Float:
        return self._with(Normal(mean, sd))

    def quantized(self, q: float) -> Float:
        sampler = Quantized(self.get_sampler(), q)
        for name, bound in (("lower", self.lower), ("upper", self.upper)):
            if np.isfinite(bound) and not np.isclose(bound / q, round(bound / q)):
                raise ValueError(f"{name} must be a multiple of q, but got {name}={bound}, q={q}")
        new = copy(self)
        new.set_sampler(sampler, allow_override=True)
        return new

    def is_valid(self, value: Any) -> bool:
        return bool(self.lower <= value <= self.upper)

    @property
    def domain_str(self) -> str:
        return f"({self.lower}, {self.upper})"


class Integer(Domain):
    """Whole numbers from ``lower`` up to, but without, ``upper``."""

    def __init__(self, lower: int, upper: int) -> None:
        if not upper > lower:
            raise ValueError(f"upper must be > lower, but got lower={lower}, upper={upper}")
        self.lower = lower
        self.upper = upper

    def cast(self, value: Any) -> int:
        return int(value)

    def quantized(self, q: int) -> Integer:
        new = copy(self)
        new.set_sampler(Quantized(new.get_sampler(), q), allow_override=True)
        return new

    def uniform(self) -> Integer:
        new = copy(self)
        new.set_sampler(Uniform())
        return new

    def loguniform(self, base: float = 10) -> Integer:
        if not self.lower > 0:
            raise ValueError(f"loguniform needs a lower bound > 0, but got lower={self.lower}")
        new = copy(self)
        new.set_sampler(LogUniform(base))
        return new

    def is_valid(self, value: Any) -> bool:
        return bool(self.lower <= value <= self.upper)

    @property
    def domain_str(self) -> str:
        return f"({self.lower}, {self.upper})"


class Categorical(Domain):
    """One of ``categories``, which may themselves hold domains."""

    def __init__(self, categories: Sequence[Any]) -> None:
        self.categories = list(categories)
        if not self.categories:
            raise ValueError("categories must hold at least one value, but got categories=[]")

    def uniform(self) -> Categorical:
        new = copy(self)
        new.set_sampler(Uniform())
        return new

    def grid(self) -> Categorical:
        new = copy(self)
        new.set_sampler(Grid())
        return new

    def __len__(self) -> int:
        return len(self.categories)

    def __getitem__(self, item: int) -> Any:
        return self.categories[item]

    def is_valid(self, value: Any) -> bool:
        return value in self.categories

    @property
    def domain_str(self) -> str:
        return f"{self.categories}"


class Function(Domain):
    """What ``func`` returns. It is called without arguments, or with the values of the space that are known so far."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func
        self.takes_config = _takes_one_argument(func)

    def is_function(self) -> bool:
        return True

    def sample(self, config: Any = None, size: int = 1, random_state: RandomState = None) -> Any:
        values = []
        for index in range(size):
            argument = config[index] if isinstance(config, list) else config
            values.append(self.func(argument) if self.takes_config else self.func())
        return values[0] if size == 1 else values

    def is_valid(self, value: Any) -> bool:
        return True

    @property
    def domain_str(self) -> str:
        return f"{self.func}()"


def _takes_one_argument(func: Callable[..., Any]) -> bool:
    try:
        parameters = signature_of(func)
    except (TypeError, ValueError):
        return True
    for arguments in ((None,), ()):
        try:
            parameters.bind(*arguments)
        except TypeError:
            continue
        return bool(arguments)
    raise ValueError(f"sample_from needs a function of one argument, or of none, but got {func!r} with signature {parameters}")


def sample_from(func: Callable[..., Any]) -> Function:
    """The value that ``func(spec)`` returns; ``spec.config.x`` (or ``spec["x"]``) is the resolved value of ``x``."""
    return Function(func)


def uniform(lower: float, upper: float) -> Float:
    """A float in ``[lower, upper)``."""
    return Float(lower, upper).uniform()


def quniform(lower: float, upper: float, q: float) -> Float:
    """A multiple of ``q`` in ``[lower, upper]``."""
    return Float(lower, upper).uniform().quantized(q)


def loguniform(lower: float, upper: float, base: float = 10) -> Float:
    """A float in ``[lower, upper)`` whose logarithm is uniform."""
    return Float(lower, upper).loguniform(base)


def qloguniform(lower: float, upper: float, q: float, base: float = 10) -> Float:
    """A multiple of ``q`` in ``[lower, upper]`` whose logarithm is (nearly) uniform."""
    return Float(lower, upper).loguniform(base).quantized(q)


def choice(categories: Sequence[Any]) -> Categorical:
    """One of ``categories``."""
    return Categorical(categories).uniform()


def randint(lower: int, upper: int) -> Integer:
    """An integer from ``lower`` up to, but without, ``upper``."""
    return Integer(lower, upper).uniform()


def lograndint(lower: int, upper: int, base: float = 10) -> Integer:
    """An integer from ``lower`` up to, but without, ``upper``, whose logarithm is uniform."""
    return Integer(lower, upper).loguniform(base)


def qrandint(lower: int, upper: int, q: int = 1) -> Integer:
    """A multiple of ``q`` from ``lower`` to ``upper``, both included."""
    return Integer(lower, upper + 1).uniform().quantized(q)


def qlograndint(lower: int, upper: int, q: int, base: float = 10) -> Integer:
    """A multiple of ``q`` from ``lower`` to ``upper``, both included, whose logarithm is (nearly) uniform."""
    return Integer(lower, upper + 1).loguniform(base).quantized(q)


def randn(mean: float = 0.0, sd: float = 1.0) -> Float:
    """A float of the normal distribution."""
    return Float(None, None).normal(mean, sd)


def qrandn(mean: float, sd: float, q: float) -> Float:
    """A float of the normal distribution, rounded to a multiple of ``q``."""
    return Float(None, None).normal(mean, sd).quantized(q)
