"""Reports from LightGBM to Tune. lightgbm itself is imported when a model is read back."""

from __future__ import annotations

import os
from typing import Any

from shoal.tune.checkpoint import Checkpoint
from shoal.tune.integration.boosting import BoostingReports, PostProcess
from shoal.tune.integration.model_reports import MetricNames
from shoal.tune.search.extras import import_extra

MODEL_FILE = "model.txt"


class TuneReportCheckpointCallback(BoostingReports):
    """For ``lightgbm.train(..., valid_sets=..., callbacks=[...])``, ``lightgbm.cv`` and ``LGBMModel.fit(callbacks=[...])``:
    reports after each round, with the model every ``frequency`` rounds and, with ``checkpoint_at_end``, after the last one.

    A metric's name is ``<name of the data>-<metric>``, like ``"valid_0-binary_logloss"``; of ``lightgbm.cv`` it ends in
    ``-mean`` or ``-stdv``. ``metrics``: one, a list, or ``{"loss": "valid_0-binary_logloss"}`` to rename; None is all.
    ``results_postprocessing_fn(metrics)`` returns what is reported in the place of it. Where early stopping may end a
    training, no round is known to be the last one: use ``frequency`` to have a model.
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

    @classmethod
    def get_model(cls, checkpoint: Checkpoint, filename: str = MODEL_FILE) -> Any:
        """The ``lightgbm.Booster`` of a checkpoint that this callback has reported."""
        lightgbm = import_extra("lightgbm", f"{cls.__name__}.get_model")
        with checkpoint.as_directory() as folder:
            return lightgbm.Booster(model_file=os.path.join(folder, filename))

    def __call__(self, env: Any) -> None:
        """Called by LightGBM after each round with its ``CallbackEnv``."""
        is_last = env.iteration == env.end_iteration - 1
        takes_model = self.is_model_due(env.iteration) or (is_last and self._checkpoint_at_end)
        self.report_round(_metrics_of(env.evaluation_result_list or []), env.model if takes_model else None)


class TuneReportCallback(TuneReportCheckpointCallback):
    """Reports metrics only; the arguments are those of `TuneReportCheckpointCallback`."""

    def __init__(self, metrics: MetricNames = None, results_postprocessing_fn: PostProcess | None = None) -> None:
        super().__init__(metrics, checkpoint_at_end=False, results_postprocessing_fn=results_postprocessing_fn)


def _metrics_of(evaluations: list[Any]) -> dict[str, Any]:
    """From rows of (data, metric, value, whether more is better), with a fifth item, the deviation, in a cross-validation."""
    found = {}
    for data, metric, value, _, *deviation in evaluations:
        if deviation:
            found[f"{data}-{metric}-mean"], found[f"{data}-{metric}-stdv"] = value, deviation[0]
        else:
            found[f"{data}-{metric}"] = value
    return found
