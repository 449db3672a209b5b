"""Grid and random search."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from typing import Any

from shoal.tune.experiment.experiment import Experiment, _convert_to_experiment_list
from shoal.tune.experiment.trial import Trial
from shoal.tune.search.random_numbers import RandomState, generator_for
from shoal.tune.search.search_algorithm import SearchAlgorithm
from shoal.tune.search.variant_generator import (
    apply_preset,
    count_variants,
    format_vars,
    generate_variants,
    resolved_parameters,
)


class BasicVariantGenerator(SearchAlgorithm):
    """Grid points crossed with random samples; the default.

    ``points_to_evaluate`` are tried first, each in the place of one sample. ``max_concurrent`` limits running trials (0: no
    limit). ``constant_grid_search`` draws random values once per sample and not once per grid point. ``random_state`` is a
    seed or a numpy generator; None draws from numpy's global one.
    """

    def __init__(
        self,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        max_concurrent: int = 0,
        constant_grid_search: bool = False,
        random_state: RandomState = None,
    ) -> None:
        if max_concurrent < 0:
            raise ValueError(f"max_concurrent must be >= 0, but got max_concurrent={max_concurrent}")
        self._points_to_evaluate = points_to_evaluate or []
        self.max_concurrent = max_concurrent
        self._constant_grid_search = constant_grid_search
        self._random_state = generator_for(random_state)
        self._prefix = uuid.uuid4().hex[:5]
        self._iterators: list[Iterator[Trial]] = []
        self._made = 0
        self._skip = 0
        self._total = 0
        self._live: set[str] = set()

    @property
    def total_samples(self) -> int:
        return self._total

    def begin_run(self) -> None:
        """Forgets what an earlier run, which may have been stopped, has left to draw."""
        self._iterators.clear()
        self._live.clear()
        self._total = self._skip = 0
        self._finished = False

    def add_configurations(self, experiments: Any) -> None:
        for experiment in _convert_to_experiment_list(experiments):
            samples = experiment.spec.get("num_samples", 1)
            if samples >= 0:
                self._total += count_variants(experiment.spec, self._points_to_evaluate)
            self._iterators.append(self._trials_of(experiment))
            self._finished = False

    def next_trial(self) -> Trial | None:
        if self.max_concurrent > 0 and len(self._live) >= self.max_concurrent:
            return None
        while self._iterators:
            trial = next(self._iterators[0], None)
            if trial is not None:
                if self.max_concurrent > 0:
                    self._live.add(trial.trial_id)
                return trial
            self._iterators.pop(0)
        self.set_finished()
        return None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._live.discard(trial_id)

    def _trials_of(self, experiment: Experiment) -> Iterator[Trial]:
        for resolved, spec in self._variants(experiment.spec):
            if self._skip > 0:
                self._skip -= 1
                continue
            number = self._made
            self._made += 1
            drawn = format_vars(resolved)
            yield experiment.make_trial(
                config=spec.get("config", {}),
                evaluated_params=resolved_parameters(resolved),
                trial_id=f"{self._prefix}_{number:05d}",
                experiment_tag=f"{number}_{drawn}" if drawn else str(number),
            )

    def _variants(self, spec: dict[str, Any]) -> Iterator[Any]:
        space = {"config": spec.get("config", {})}
        for preset in self._points_to_evaluate:
            yield from generate_variants(apply_preset(space, preset), self._constant_grid_search, self._random_state)
        samples = spec.get("num_samples", 1)
        rounds = itertools.count() if samples < 0 else range(max(0, samples - len(self._points_to_evaluate)))
        for _ in rounds:
            yield from generate_variants(space, self._constant_grid_search, self._random_state)

    def get_state(self) -> dict[str, Any]:
        return {"prefix": self._prefix, "made": self._made, "live": sorted(self._live)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on after ``state["made"]`` trials; grids are walked in the same order, random values are drawn anew."""
        self._prefix = state["prefix"]
        self._made = self._skip = state["made"]
        self._live = set(state.get("live", ()))
