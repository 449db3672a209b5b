"""The contract of what makes trials."""

from __future__ import annotations

from typing import Any


class SearchAlgorithm:
    """Makes the trials of an experiment, one after the other, and learns from what they report.

    ``next_trial`` returns a trial, or None: then ``is_finished()`` says whether there will be more later. The controller calls
    all methods from one thread.
    """

    _finished = False
    metric: str | None = None
    _metric: str | None = None

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Hands over metric, mode and space; returns whether they were taken."""
        if self._metric and metric:
            return False
        if metric:
            self._metric = metric
        return True

    @property
    def total_samples(self) -> int:
        """How many trials there will be, 0 when that is not known."""
        return 0

    def has_checkpoint(self, dirpath: str) -> bool:
        return False

    def add_configurations(self, experiments: Any) -> None:
        """``experiments``: an Experiment, a list of them, or a dictionary of specifications by name."""
        raise NotImplementedError(f"{type(self).__name__} must define add_configurations")

    def next_trial(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define next_trial")

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Called for each result of a running trial but its last."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Called once for a trial that has ended, with its last result."""

    def is_finished(self) -> bool:
        return self._finished

    def set_finished(self) -> None:
        self._finished = True

    def get_state(self) -> dict[str, Any]:
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        if state:
            raise ValueError(f"{type(self).__name__} has no state to restore, but got keys {sorted(state)}")
