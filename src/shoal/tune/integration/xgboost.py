"""Reports from XGBoost to Tune. Importing this module needs xgboost."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from shoal.tune.checkpoint import Checkpoint
from shoal.tune.integration.boosting import BoostingReports, PostProcess
from shoal.tune.integration.model_reports import MetricNames
from shoal.tune.search.extras import import_extra

_xgboost = import_extra("xgboost", "shoal.tune.integration.xgboost")
_callback = import_extra("xgboost.callback", "shoal.tune.integration.xgboost", package="xgboost")

MODEL_FILE = "model.ubj"


class TuneReportCheckpointCallback(BoostingReports, _callback.TrainingCallback):  # type: ignore[misc,name-defined]
    """For ``xgboost.train(..., evals=..., callbacks=[...])``, ``xgboost.cv`` and ``XGBModel(callbacks=[...])``: reports after
    each round, with the model every ``frequency`` rounds and, with ``checkpoint_at_end``, once more after the last.

    A metric's name is ``<name in evals>-<metric>``, like ``"eval-logloss"``. ``metrics``: one, a list, or ``{"loss":
    "eval-logloss"}`` to rename; None is all. ``filename``: of the model in the checkpoint; its ending picks XGBoost's format.
    ``results_postprocessing_fn(metrics)`` returns what is reported in the place of it. ``xgboost.cv`` gives pairs of mean and
    deviation to it, and no model that can be saved: use ``checkpoint_at_end=False``.
    """

    CHECKPOINT_NAME = MODEL_FILE

    def __init__(
        self,
        metrics: MetricNames = None,
        filename: str = MODEL_FILE,
        frequency: int = 0,
        checkpoint_at_end: bool = True,
        results_postprocessing_fn: PostProcess | None = None,
    ) -> None:
        super().__init__(metrics, filename, frequency, checkpoint_at_end, results_postprocessing_fn)
        self._found: dict[str, Any] = {}
        self._saved_round: int | None = None

    @classmethod
    def get_model(cls, checkpoint: Checkpoint, filename: str = MODEL_FILE) -> Any:
        """The ``xgboost.Booster`` of a checkpoint that this callback has reported."""
        with checkpoint.as_directory() as folder:
            model = _xgboost.Booster()
            model.load_model(os.path.join(folder, filename))
            return model

    def before_training(self, model: Any) -> Any:
        self._found, self._saved_round = {}, None  # a callback may serve several trainings
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Mapping[str, Any]]) -> bool:
        """XGBoost's hook; False lets the training go on."""
        self._found = {
            f"{data}-{metric}": values[-1] for data, metrics in evals_log.items() for metric, values in metrics.items()
        }
        if self.is_model_due(epoch):
            self._saved_round = epoch
            self.report_round(self._found, model)
        else:
            self.report_round(self._found)
        return False

    def after_training(self, model: Any) -> Any:
        """XGBoost's hook; returns the model that the training returns."""
        if self._checkpoint_at_end and self._saved_round != model.num_boosted_rounds() - 1:
            self.report_round(self._found, model)
        return model


class TuneReportCallback(TuneReportCheckpointCallback):
    """Reports metrics only; the arguments are those of `TuneReportCheckpointCallback`."""

    def __init__(self, metrics: MetricNames = None, results_postprocessing_fn: PostProcess | None = None) -> None:
        super().__init__(metrics, checkpoint_at_end=False, results_postprocessing_fn=results_postprocessing_fn)
