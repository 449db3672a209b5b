"""A search algorithm for tests: it makes empty suggestions and keeps what it is told."""

from __future__ import annotations

from typing import Any

from shoal.tune.search.concurrency_limiter import ConcurrencyLimiter
from shoal.tune.search.search_generator import SearchGenerator
from shoal.tune.search.searcher import Searcher


class _MockSearcher(Searcher):
    def __init__(self, **kwargs: Any) -> None:
        self.live_trials: dict[str, int] = {}
        self.counter = {"result": 0, "complete": 0}
        self.final_results: list[dict[str, Any]] = []
        self.results: list[dict[str, Any]] = []
        super().__init__(**kwargs)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        self.live_trials[trial_id] = 1
        return {"test_variable": 2}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.counter["result"] += 1
        self.results.append(result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.counter["complete"] += 1
        if result is not None:
            self.final_results.append(result)
        self.live_trials.pop(trial_id, None)


class _MockSuggestionAlgorithm(SearchGenerator):
    def __init__(self, max_concurrent: int | None = None, **kwargs: Any) -> None:
        inner = _MockSearcher(**kwargs)
        super().__init__(ConcurrencyLimiter(inner, max_concurrent) if max_concurrent else inner)
        self._inner = inner

    @property
    def live_trials(self) -> dict[str, int]:
        return self._inner.live_trials

    @property
    def results(self) -> list[dict[str, Any]]:
        return self._inner.results
