"""HyperBand as BOHB wants it (Falkner et al., 2018): the searcher is told about paused trials."""

from __future__ import annotations

from typing import Any

from shoal.tune.schedulers.hyperband import HyperBandScheduler
from shoal.tune.schedulers.trial_scheduler import PAUSE


class HyperBandForBOHB(HyperBandScheduler):
    """HyperBand that lets a ``TuneBOHB`` searcher learn from every rung. Use it together with that searcher."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        decision = super().on_trial_result(tune_controller, trial, result)
        if decision == PAUSE:
            self._tell_searcher(tune_controller, "on_pause", trial.trial_id)
        return decision

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        trial = super().choose_trial_to_run(tune_controller)
        if trial is not None and trial.status == trial.PAUSED:
            self._tell_searcher(tune_controller, "on_unpause", trial.trial_id)
        return trial

    def _tell_searcher(self, tune_controller: Any, hook: str, trial_id: str) -> None:
        searcher = getattr(tune_controller.search_alg, "searcher", None)
        if hasattr(searcher, hook):
            getattr(searcher, hook)(trial_id)
