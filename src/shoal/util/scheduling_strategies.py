"""Where tasks and actors run: the values of the option ``scheduling_strategy`` other than "DEFAULT" and "SPREAD"."""

from __future__ import annotations

from shoal.core.scheduling_strategies import (
    DoesNotExist,
    Exists,
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
    PlacementGroupSchedulingStrategy,
    SchedulingStrategy,
)

SchedulingStrategyT = SchedulingStrategy
"""Ray's name for the type of the option."""

__all__ = [
    "DoesNotExist",
    "Exists",
    "In",
    "NodeAffinitySchedulingStrategy",
    "NodeLabelSchedulingStrategy",
    "NotIn",
    "PlacementGroupSchedulingStrategy",
    "SchedulingStrategy",
    "SchedulingStrategyT",
]
