"""A searcher as a search algorithm: suggestions become trials."""

from __future__ import annotations

import logging
import uuid
from typing import Any

from shoal.tune.error import TuneError
from shoal.tune.experiment.experiment import Experiment, _convert_to_experiment_list
from shoal.tune.experiment.trial import Trial
from shoal.tune.flatten import copy_containers, flatten_dict, merge_dicts
from shoal.tune.search.points import same
from shoal.tune.search.search_algorithm import SearchAlgorithm
from shoal.tune.search.searcher import Searcher
from shoal.tune.search.variant_generator import format_flat_parameters, has_unresolved_values

logger = logging.getLogger("shoal.tune.search.util")


class SearchGenerator(SearchAlgorithm):
    """Makes one trial of each suggestion of ``searcher``, up to ``num_samples`` of the experiment (-1: without end)."""

    def __init__(self, searcher: Searcher) -> None:
        if not isinstance(searcher, Searcher):
            raise TuneError(f"a search generator needs a Searcher, but got {type(searcher).__name__}")
        self.searcher = searcher
        self._experiment: Experiment | None = None
        self._made = 0
        self._total = 0

    @property
    def metric(self) -> Any:  # type: ignore[override]
        return self.searcher.metric

    @property
    def total_samples(self) -> int:
        return max(0, self._total)

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return set_search_properties_backwards_compatible(self.searcher.set_search_properties, metric, mode, config, **spec)

    def add_configurations(self, experiments: Any) -> None:
        found = _convert_to_experiment_list(experiments)
        if len(found) != 1 or self._experiment is not None:
            raise TuneError(f"a searcher works on one experiment, but got {len(found)}")
        self._experiment = found[0]
        self._total = self._experiment.spec.get("num_samples", 1)

    def is_finished(self) -> bool:
        return self._finished or (self._experiment is not None and 0 <= self._total <= self._made)

    def next_trial(self) -> Trial | None:
        if self._experiment is None or self._finished:
            return None
        if 0 <= self._total <= self._made:
            self.set_finished()
            return None
        trial_id = uuid.uuid4().hex[:8]
        suggestion = self.searcher.suggest(trial_id)
        if suggestion == Searcher.FINISHED:
            self.set_finished()
            return None
        if suggestion is None:
            return None
        return self._make_trial(self._experiment, trial_id, dict(suggestion))  # type: ignore[arg-type]

    def _make_trial(self, experiment: Experiment, trial_id: str, suggestion: dict[str, Any]) -> Trial:
        base = copy_containers(experiment.spec.get("config") or {})
        config = merge_dicts(base, suggestion)
        if has_unresolved_values(config):
            raise ValueError(
                f"{type(self.searcher).__name__} did not draw these parts of the space: "
                f"{[key for key, value in config.items() if has_unresolved_values(value)]}"
            )
        self._made += 1
        constants = flatten_dict(base)
        drawn = {name: value for name, value in flatten_dict(suggestion).items() if not _is_same(constants, name, value)}
        return experiment.make_trial(
            config=config,
            evaluated_params=drawn,
            trial_id=trial_id,
            experiment_tag=f"{self._made}_{format_flat_parameters(drawn)}",
        )

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.searcher.on_trial_result(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.searcher.on_trial_complete(trial_id, result=result, error=error)

    def get_state(self) -> dict[str, Any]:
        return {"made": self._made, "searcher": self.searcher.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        self._made = state["made"]
        if state.get("searcher") is not None:
            self.searcher.set_state(state["searcher"])


def _is_same(constants: dict[str, Any], name: str, value: Any) -> bool:
    return name in constants and same(constants[name], value)


def set_search_properties_backwards_compatible(
    method: Any, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
) -> bool:
    """Calls ``set_search_properties`` of searchers that were written before it took ``**spec``, with a warning."""
    try:
        return bool(method(metric, mode, config, **spec))
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
    logger.warning(
        "Please update custom Searcher to take in function signature "
        "as ``def set_search_properties(metric, mode, config, "
        "**spec) -> bool``."
    )
    return bool(method(metric, mode, config))
