"""Trials that grow into the resources that others have left."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from shoal.tune.execution.placement_groups import PlacementGroupFactory
from shoal.tune.experiment.trial import Trial
from shoal.tune.mode import check_mode
from shoal.tune.schedulers.trial_scheduler import CONTINUE, NOOP, FIFOScheduler, TrialScheduler

logger = logging.getLogger(__name__)

Allocation = Callable[[Any, Any, dict[str, Any], "ResourceChangingScheduler"], PlacementGroupFactory | None]


class DistributeResources:
    """Shares the cluster's CPUs and GPUs evenly among the live trials; none gets less than it began with.

    ``add_bundles`` adds the extra resources as bundles like the first one. ``increase_by`` (like ``{"CPU": 1}``) is the step of
    growth, ``increase_by_times`` the largest number of steps (-1: no limit). ``reserve_resources`` is never handed out.
    """

    def __init__(
        self,
        add_bundles: bool = False,
        increase_by: dict[str, float] | None = None,
        increase_by_times: int = -1,
        reserve_resources: dict[str, float] | None = None,
    ) -> None:
        if increase_by is not None and (not increase_by or min(increase_by.values()) <= 0):
            raise ValueError(f"increase_by must hold amounts > 0, but got increase_by={increase_by}")
        self.add_bundles = add_bundles
        self.increase_by = increase_by or {}
        self.increase_by_times = increase_by_times
        self.reserve_resources = reserve_resources or {}

    def __call__(
        self, tune_controller: Any, trial: Any, result: dict[str, Any], scheduler: ResourceChangingScheduler
    ) -> PlacementGroupFactory | None:
        base = scheduler.base_resources(trial)
        live = [other for other in tune_controller.get_live_trials() if other.status in (Trial.RUNNING, Trial.PENDING)]
        steps = self._steps(tune_controller, base, self.share_of(tune_controller, trial, live, scheduler))
        return self._grown(base, steps)

    def share_of(self, tune_controller: Any, trial: Any, live: list[Any], scheduler: ResourceChangingScheduler) -> float:
        """The part of the cluster that ``trial`` may have."""
        return 1.0 / max(1, len(live))

    def _step(self, base: PlacementGroupFactory) -> dict[str, float]:
        if self.increase_by:
            return self.increase_by
        if self.add_bundles:
            return base.bundles[-1]
        return {name: 1.0 for name in ("CPU", "GPU") if base.required_resources.get(name)} or {"CPU": 1.0}

    def _steps(self, tune_controller: Any, base: PlacementGroupFactory, share: float) -> int:
        """How many steps beyond ``base`` fit into the share."""
        counts = []
        for name, amount in self._step(base).items():
            total = tune_controller.resources.get(name, 0.0) - self.reserve_resources.get(name, 0.0)
            counts.append(int((total * share - base.required_resources.get(name, 0.0)) / amount + 1e-9))
        steps = max(0, min(counts))
        return steps if self.increase_by_times < 0 else min(steps, self.increase_by_times)

    def _grown(self, base: PlacementGroupFactory, steps: int) -> PlacementGroupFactory:
        if steps == 0:
            return base
        bundles: list[dict[str, float]] = ([{}] if base.head_bundle_is_empty else []) + base.bundles
        step = self._step(base)
        if self.add_bundles:
            return PlacementGroupFactory(bundles + [dict(step) for _ in range(steps)], base.strategy)
        grown = [dict(bundle) for bundle in bundles]
        for name, amount in step.items():
            grown[-1][name] = grown[-1].get(name, 0.0) + amount * steps
        return PlacementGroupFactory(grown, base.strategy)


class DistributeResourcesToTopJob(DistributeResources):
    """Gives everything that is free to the trial that is best by ``metric``."""

    def __init__(
        self,
        add_bundles: bool = False,
        increase_by: dict[str, float] | None = None,
        increase_by_times: int = -1,
        reserve_resources: dict[str, float] | None = None,
        metric: str | None = None,
        mode: str | None = None,
    ) -> None:
        super().__init__(add_bundles, increase_by, increase_by_times, reserve_resources)
        self.metric, self.mode = metric, check_mode(mode)

    def share_of(self, tune_controller: Any, trial: Any, live: list[Any], scheduler: ResourceChangingScheduler) -> float:
        metric, mode = self.metric or scheduler.metric, self.mode or scheduler._mode or "max"
        if metric is None:
            raise ValueError("DistributeResourcesToTopJob needs a metric (its own or the scheduler's), but got metric=None")
        sign = 1 if mode == "max" else -1
        best = max(live, key=lambda other: sign * float(other.last_result.get(metric, -sign * float("inf"))), default=trial)
        if trial is not best:
            return 0.0
        total = tune_controller.resources.get("CPU", 0.0) or 1.0
        others = sum(other.placement_group_factory.required_resources.get("CPU", 0.0) for other in live if other is not trial)
        return float(max(0.0, (total - others) / total))


class ResourceChangingScheduler(TrialScheduler):
    """Asks ``resources_allocation_function`` after each result what the trial should have, and restarts it from a checkpoint
    with that when it is something else. Everything else is up to ``base_scheduler``.

    A function trainable is changed only once it has reported a checkpoint.
    """

    def __init__(
        self,
        base_scheduler: TrialScheduler | None = None,
        resources_allocation_function: Allocation | None = None,
    ) -> None:
        self._base = base_scheduler or FIFOScheduler()
        self._allocate = resources_allocation_function or DistributeResources()
        self._first: dict[str, PlacementGroupFactory] = {}

    @property
    def metric(self) -> str | None:
        return self._base.metric

    @property
    def _mode(self) -> str | None:  # type: ignore[override]
        return self._base._mode

    @property
    def base_trial_resources(self) -> dict[str, PlacementGroupFactory]:
        return self._first

    def base_resources(self, trial: Any) -> PlacementGroupFactory:
        """What ``trial`` began with."""
        return self._first.setdefault(trial.trial_id, trial.placement_group_factory)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return self._base.set_search_properties(metric, mode, **spec)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self.base_resources(trial)
        self._base.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        decision = self._base.on_trial_result(tune_controller, trial, result)
        if decision != CONTINUE or (trial.is_function and not trial.has_checkpoint()):
            return decision
        wanted = self._allocate(tune_controller, trial, result, self)
        if wanted is None or wanted == trial.placement_group_factory:
            return decision
        logger.info("%s goes on with %s instead of %s", trial, wanted, trial.placement_group_factory)
        tune_controller.change_resources(trial, wanted)
        return NOOP

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._base.on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._base.on_trial_remove(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._base.on_trial_error(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        return self._base.choose_trial_to_run(tune_controller)

    def debug_string(self) -> str:
        return f"(ResourceChangingScheduler) {self._base.debug_string()}"
