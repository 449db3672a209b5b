"""A searcher that suggests only while few of its suggestions are running."""

from __future__ import annotations

from typing import Any

from shoal.tune.search.search_generator import set_search_properties_backwards_compatible
from shoal.tune.search.searcher import Searcher


class ConcurrencyLimiter(Searcher):
    """At most ``max_concurrent`` suggestions of ``searcher`` are out at a time.

    With ``batch``, results go back to the searcher only when a whole batch has ended. A searcher that limits concurrency itself
    (``set_max_concurrency``) does so instead.
    """

    def __init__(self, searcher: Searcher, max_concurrent: Any, batch: bool = False) -> None:
        if not isinstance(max_concurrent, int) or max_concurrent <= 0:
            raise ValueError(f"max_concurrent must be > 0, but got max_concurrent={max_concurrent}")
        self.searcher = searcher
        self.max_concurrent = max_concurrent
        self.batch = batch
        self.live_trials: set[str] = set()
        self.cached_results: dict[str, tuple[dict[str, Any] | None, bool]] = {}
        self._limits_itself = searcher.set_max_concurrency(max_concurrent)
        super().__init__(metric=searcher.metric, mode=searcher.mode)

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        self.max_concurrent = max_concurrent
        return True

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        taken = set_search_properties_backwards_compatible(self.searcher.set_search_properties, metric, mode, config, **spec)
        self._metric, self._mode = self.searcher.metric, self.searcher.mode
        return taken

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._limits_itself:
            return self.searcher.suggest(trial_id)
        if len(self.live_trials) >= self.max_concurrent:
            return None
        suggestion = self.searcher.suggest(trial_id)
        if suggestion not in (None, Searcher.FINISHED):
            self.live_trials.add(trial_id)
        return suggestion

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.searcher.on_trial_result(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if trial_id not in self.live_trials or not self.batch:
            self.live_trials.discard(trial_id)
            self.searcher.on_trial_complete(trial_id, result=result, error=error)
            return
        self.cached_results[trial_id] = (result, error)
        if len(self.cached_results) == self.max_concurrent or set(self.cached_results) == self.live_trials:
            for cached_id, (cached, failed) in self.cached_results.items():
                self.searcher.on_trial_complete(cached_id, result=cached, error=failed)
                self.live_trials.discard(cached_id)
            self.cached_results = {}

    def on_pause(self, trial_id: str) -> None:
        if hasattr(self.searcher, "on_pause"):
            self.searcher.on_pause(trial_id)

    def on_unpause(self, trial_id: str) -> None:
        if hasattr(self.searcher, "on_unpause"):
            self.searcher.on_unpause(trial_id)

    def add_evaluated_point(
        self,
        parameters: dict[str, Any],
        value: float,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: list[float] | None = None,
    ) -> None:
        self.searcher.add_evaluated_point(parameters, value, error, pruned, intermediate_values)

    def get_state(self) -> dict[str, Any]:
        return {
            "searcher": self.searcher.get_state(),
            "max_concurrent": self.max_concurrent,
            "batch": self.batch,
            "live_trials": set(self.live_trials),
            "cached_results": dict(self.cached_results),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        self.searcher.set_state(state["searcher"])
        self.max_concurrent, self.batch = state["max_concurrent"], state["batch"]
        self.live_trials = set(state["live_trials"])
        self.cached_results = dict(state["cached_results"])
