"""Schedulers: which trial runs, and for how long."""

from __future__ import annotations

import importlib
from typing import Any

from shoal.tune.schedulers.async_hyperband import ASHAScheduler, AsyncHyperBandScheduler
from shoal.tune.schedulers.hb_bohb import HyperBandForBOHB
from shoal.tune.schedulers.hyperband import HyperBandScheduler
from shoal.tune.schedulers.median_stopping_rule import MedianStoppingRule
from shoal.tune.schedulers.pbt import PopulationBasedTraining, PopulationBasedTrainingReplay
from shoal.tune.schedulers.resource_changing_scheduler import ResourceChangingScheduler
from shoal.tune.schedulers.trial_scheduler import FIFOScheduler, TrialScheduler

SCHEDULERS = {
    "fifo": "trial_scheduler:FIFOScheduler",
    "async_hyperband": "async_hyperband:AsyncHyperBandScheduler",
    "asynchyperband": "async_hyperband:AsyncHyperBandScheduler",
    "asha": "async_hyperband:AsyncHyperBandScheduler",
    "median_stopping_rule": "median_stopping_rule:MedianStoppingRule",
    "medianstopping": "median_stopping_rule:MedianStoppingRule",
    "hyperband": "hyperband:HyperBandScheduler",
    "hb_bohb": "hb_bohb:HyperBandForBOHB",
    "pbt": "pbt:PopulationBasedTraining",
    "pbt_replay": "pbt:PopulationBasedTrainingReplay",
    "pb2": "pb2:PB2",
    "resource_changing": "resource_changing_scheduler:ResourceChangingScheduler",
}


def create_scheduler(scheduler: str, **kwargs: Any) -> TrialScheduler:
    """The scheduler of that name; arguments that it does not take are left out. Raises ValueError for an unknown name."""
    from shoal.tune.schedulers.by_name import create_by_name

    made: TrialScheduler = create_by_name("scheduler", SCHEDULERS, "shoal.tune.schedulers", scheduler, kwargs)
    return made


def __getattr__(name: str) -> Any:
    if name in ("PB2", "pb2"):
        module = importlib.import_module("shoal.tune.schedulers.pb2")
        return module if name == "pb2" else module.PB2
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "PB2",
    "ASHAScheduler",
    "AsyncHyperBandScheduler",
    "FIFOScheduler",
    "HyperBandForBOHB",
    "HyperBandScheduler",
    "MedianStoppingRule",
    "PopulationBasedTraining",
    "PopulationBasedTrainingReplay",
    "ResourceChangingScheduler",
    "TrialScheduler",
    "create_scheduler",
]
