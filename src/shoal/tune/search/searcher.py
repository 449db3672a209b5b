"""The contract of model-based search."""

from __future__ import annotations

import copy
import glob
import logging
import os
from typing import Any

import cloudpickle

from shoal.tune.mode import check_mode

logger = logging.getLogger(__name__)

UNRESOLVED_SEARCH_SPACE = (
    "{par} holds tune's own domains or grids, which {cls} converts only when the space is given as the config of the run "
    "or as {cls}({space}=...) of plain domains"
)


class Searcher:
    """Suggests configurations and learns from results.

    Subclasses define ``suggest`` and ``on_trial_complete``, and ``save``/``restore`` (or nothing but picklable attributes) for
    runs that are resumed. ``mode`` is "min", "max", or a list of them for several metrics.
    """

    FINISHED = "FINISHED"
    CKPT_FILE_TMPL = "searcher-state-{}.pkl"

    def __init__(self, metric: str | list[str] | None = None, mode: str | list[str] | None = None) -> None:
        for one in mode if isinstance(mode, list) else [mode]:
            check_mode(one)
        if isinstance(metric, list) and isinstance(mode, list) and len(metric) != len(mode):
            raise ValueError(f"metric and mode must be of one length, but got metric={metric}, mode={mode}")
        self._metric = metric
        self._mode = mode

    @property
    def metric(self) -> Any:
        return self._metric

    @property
    def mode(self) -> Any:
        return self._mode

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Hands over metric, mode and space; False when the searcher has its own already and cannot take them."""
        return False

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next configuration; None: not now; ``Searcher.FINISHED``: never again."""
        raise NotImplementedError(f"{type(self).__name__} must define suggest")

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Called for each result of a running trial but its last."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Called once for a trial that has ended. ``result`` is its last one, None when it reported nothing or failed."""
        raise NotImplementedError(f"{type(self).__name__} must define on_trial_complete")

    def add_evaluated_point(
        self,
        parameters: dict[str, Any],
        value: float,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: list[float] | None = None,
    ) -> None:
        """Tells about a configuration that was evaluated elsewhere."""
        raise NotImplementedError(f"{type(self).__name__} cannot learn from points evaluated elsewhere")

    def add_evaluated_trials(self, trials_or_analysis: Any, metric: str) -> None:
        """Tells about finished trials: an ExperimentAnalysis, a trial or a list of them."""
        trials = getattr(trials_or_analysis, "trials", trials_or_analysis)
        for trial in trials if isinstance(trials, list) else [trials]:
            result = trial.last_result or {}
            if trial.status == "TERMINATED" and metric in result:
                self.add_evaluated_point(trial.config, result[metric])

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Whether the searcher limits concurrency itself; a ConcurrencyLimiter asks before it does."""
        return False

    def get_state(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_finished_callback"}

    def set_state(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def save(self, checkpoint_path: str) -> None:
        """Writes the state to one file."""
        with open(checkpoint_path, "wb") as file:
            cloudpickle.dump(self.get_state(), file)

    def restore(self, checkpoint_path: str) -> None:
        with open(checkpoint_path, "rb") as file:
            self.set_state(cloudpickle.load(file))

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        target = os.path.join(checkpoint_dir, self.CKPT_FILE_TMPL.format(session_str))
        self.save(target + ".tmp")
        os.replace(target + ".tmp", target)

    def restore_from_dir(self, checkpoint_dir: str) -> None:
        files = sorted(glob.glob(os.path.join(checkpoint_dir, self.CKPT_FILE_TMPL.format("*"))), key=os.path.getmtime)
        if not files:
            raise RuntimeError(f"no searcher state in {checkpoint_dir}")
        self.restore(files[-1])

    def copy_points(self, points: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
        return copy.deepcopy(points) if points else []
