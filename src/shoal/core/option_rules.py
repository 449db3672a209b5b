"""The rule of each option's value. A rule takes the option's name and the value given, and returns the value to keep;
it raises TypeError for a wrong type and ValueError for a wrong value, quoting both."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from shoal.core.accelerators import FAMILIES
from shoal.core.labels import check_fallback_strategy, check_label_selector, check_labels

if TYPE_CHECKING:
    from shoal.core.runtime_env import RuntimeEnv

Rule = Callable[[str, Any], Any]

RESOURCE_PRECISION = 0.0001
WHOLE_ABOVE_ONE = frozenset({"num_gpus", *FAMILIES})
RESERVED_RESOURCES = frozenset({"memory", "object_store_memory", "bundle"})


def reject_unknown(subject: str, given: Iterable[str], known: Iterable[str], removed: Mapping[str, str]) -> None:
    """Raises ValueError for the first option that ``subject`` does not have, naming near matches."""
    known = list(known)
    for name in given:
        if name in removed:
            raise ValueError(f"The option '{name}' of {subject} is not supported: {removed[name]}")
        if name not in known:
            import difflib

            near = difflib.get_close_matches(name, known, n=3)
            hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
            raise ValueError(f"Invalid option keyword {name} for {subject}. {hint}Valid ones are {known}.")


def typed(*types: type) -> Rule:
    """Any value of these types."""

    def rule(name: str, value: Any) -> Any:
        require_type(name, value, types)
        return value

    return rule


def require_type(name: str, value: Any, types: tuple[type, ...]) -> None:
    if not isinstance(value, types):
        expected = types[0] if len(types) == 1 else types
        raise TypeError(f"The type of keyword '{name}' must be {expected}, but received type {type(value)}: {name}={value!r}")


def count(name: str, value: Any) -> int | None:
    """None, 0 or a positive integer."""
    require_type(name, value, (int, type(None)))
    if value is not None and value < 0:
        raise ValueError(
            f"The keyword '{name}' only accepts None, 0 or a positive integer: {name} must be >= 0, but got {name}={value}"
        )
    return None if value is None else int(value)


def count_or_infinite(name: str, value: Any) -> int | None:
    """None, -1 (no limit), 0 or a positive integer."""
    require_type(name, value, (int, type(None)))
    if value is not None and value < -1:
        raise ValueError(
            f"The keyword '{name}' only accepts None, 0, -1 or a positive integer, "
            f"where -1 represents infinity. Received {name}={value}"
        )
    return None if value is None else int(value)


def positive_count(name: str, value: Any) -> int | None:
    result = count(name, value)
    if result == 0:
        raise ValueError(f"{name} must be >= 1, but got {name}=0")
    return result


def quantity(name: str, value: Any) -> float | None:
    """A resource amount: finite, >= 0, at least the precision when not 0, and whole above 1 where parts make no sense."""
    require_type(name, value, (float, int, type(None)))
    if value is None:
        return None
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, but got {name}={value}")
    if value < 0:
        raise ValueError(f"The quantity of resource {name} cannot be negative: {name} must be >= 0, but got {name}={value}")
    if 0 < value < RESOURCE_PRECISION:
        raise ValueError(
            f"The precision of the fractional quantity of resource {name} cannot go beyond 0.0001, but got {name}={value}"
        )
    if name in WHOLE_ABOVE_ONE and value > 1 and value != int(value):
        raise ValueError(f"{name} must be a whole number when it is above 1, but got {name}={value}")
    return float(value)


def resources(name: str, value: Any) -> dict[str, float] | None:
    """Custom resources: names to quantities."""
    require_type(name, value, (dict, type(None)))
    if value is None:
        return None
    checked = {}
    for resource, amount in value.items():
        if not isinstance(resource, str) or not resource:
            raise TypeError(f"The names in 'resources' must be non-empty strings, but got {resource!r}")
        if resource in ("CPU", "GPU"):
            raise ValueError(
                "Use the 'num_cpus' and 'num_gpus' keyword instead of 'CPU' and 'GPU' "
                f"in 'resources' keyword, but got resources={value}"
            )
        if resource in RESERVED_RESOURCES:
            raise ValueError(f"The resource name '{resource}' is reserved, but got resources={value}")
        amount = quantity(resource, amount)
        if amount is None:
            raise TypeError(f"The quantity of resource {resource} must be a number, but got None")
        checked[resource] = amount
    return checked


def label_selector(name: str, value: Any) -> dict[str, str] | None:
    require_type(name, value, (dict, type(None)))
    return None if value is None else check_label_selector(value)


def labels(name: str, value: Any) -> dict[str, str] | None:
    require_type(name, value, (dict, type(None)))
    return None if value is None else check_labels(value)


def fallback_strategy(name: str, value: Any) -> tuple[dict[str, str], ...] | None:
    require_type(name, value, (list, tuple, type(None)))
    return None if value is None else check_fallback_strategy(value)


def scheduling_strategy(name: str, value: Any) -> Any:
    from shoal.core.scheduling_strategies import (
        STRATEGY_NAMES,
        NodeAffinitySchedulingStrategy,
        NodeLabelSchedulingStrategy,
        PlacementGroupSchedulingStrategy,
    )

    if value is None:
        return None
    strategies = (PlacementGroupSchedulingStrategy, NodeAffinitySchedulingStrategy, NodeLabelSchedulingStrategy)
    require_type(name, value, (type(None), str, *strategies))
    if isinstance(value, str) and value not in STRATEGY_NAMES:
        raise ValueError(f"Invalid scheduling strategy {value!r}: a name must be one of {list(STRATEGY_NAMES)}")
    return value


def runtime_env(name: str, value: Any) -> RuntimeEnv | None:
    require_type(name, value, (dict, type(None)))
    from shoal.core.runtime_env import RuntimeEnv

    return None if value is None else RuntimeEnv.from_value(value).check_for_task()


def num_returns(name: str, value: Any) -> int | str | None:
    require_type(name, value, (int, str, type(None)))
    if isinstance(value, str):
        if value not in ("streaming", "dynamic"):
            raise ValueError(f"num_returns must be an integer >= 0, 'streaming' or 'dynamic', but got num_returns={value!r}")
        if value == "dynamic":
            warnings.warn("num_returns='dynamic' is deprecated: use num_returns='streaming'", DeprecationWarning, stacklevel=7)
        return value
    if value is not None and value < 0:
        raise ValueError(
            f"The keyword 'num_returns' only accepts None, a non-negative integer, 'streaming' (for generators), "
            f"or 'dynamic': num_returns must be >= 0, but got {value}."
        )
    return None if value is None else int(value)


def retry_exceptions(name: str, value: Any) -> bool | tuple[type[BaseException], ...] | None:
    require_type(name, value, (bool, list, tuple, type(None)))
    if isinstance(value, (list, tuple)):
        for item in value:
            if not (isinstance(item, type) and issubclass(item, Exception)):
                raise ValueError(f"retry_exceptions must be either a boolean or a list of exceptions, but it has {item!r}")
        return tuple(value)
    return None if value is None else bool(value)


def backpressure(name: str, value: Any) -> int | None:
    require_type(name, value, (int, type(None)))
    if value is None:
        return None
    if value == 0:
        raise ValueError(
            f"{name}=0 is not allowed. Use a value > 0 (1: one item is produced for each that is taken), or -1 for no limit."
        )
    if value < -1:
        raise ValueError(f"{name} must be > 0 or -1, but got {name}={value}")
    return int(value)


def lifetime(name: str, value: Any) -> str | None:
    require_type(name, value, (str, type(None)))
    if value not in (None, "detached", "non_detached"):
        raise ValueError(
            f"actor `lifetime` argument must be one of 'detached', 'non_detached' and 'None', but got lifetime={value!r}"
        )
    return value  # type: ignore[no-any-return]


def actor_name(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"The type of keyword 'name' must be {str}: name must be None or a string, got: '{type(value)}'.")
    if value == "":
        raise ValueError("Actor name cannot be an empty string.")
    return value


def namespace(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"namespace must be None or a string, but got {value!r}.")
    if value == "":
        raise ValueError('"" is not a valid namespace. Pass None to not specify a namespace.')
    return value


def concurrency_groups(name: str, value: Any) -> dict[str, int] | None:
    """``{group: max concurrency}``; a list of ``{"name": ..., "max_concurrency": ...}`` means the same."""
    require_type(name, value, (list, dict, type(None)))
    if value is None:
        return None
    if isinstance(value, list):
        value = {entry["name"]: entry["max_concurrency"] for entry in value}
    for group, limit in value.items():
        if not isinstance(group, str) or not group:
            raise TypeError(f"A concurrency group's name must be a non-empty string, but got {group!r}")
        if not isinstance(limit, int) or isinstance(limit, bool):
            raise TypeError(f"The limit of concurrency group {group!r} must be an integer, but got {limit!r}")
        if limit < 1:
            raise ValueError(f"The limit of concurrency group {group!r} must be >= 1, but got {limit}")
    return dict(value)


def tensor_transport(name: str, value: Any) -> str | None:
    """Only the object store carries tensors."""
    require_type(name, value, (str, type(None)))
    if value is None or value.lower() == "object_store":
        return None
    raise ValueError(f"Invalid tensor transport {value!r}: only 'object_store' is supported")


def tensor_transport_switch(name: str, value: Any) -> bool | None:
    require_type(name, value, (bool, type(None)))
    if value:
        raise ValueError("enable_tensor_transport=True is not supported: tensors travel through the object store")
    return None if value is None else False
