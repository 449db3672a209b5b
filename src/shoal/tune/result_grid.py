"""What a run has found."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shoal.tune.analysis import ExperimentAnalysis
from shoal.tune.checkpoint import Checkpoint
from shoal.tune.experiment.trial import Trial
from shoal.tune.flatten import flatten_dict
from shoal.tune.mode import check_mode
from shoal.tune.result import AUTO_RESULT_KEYS, CHECKPOINT_DIR_NAME, CHECKPOINT_PREFIX, EXPR_ERROR_PICKLE_FILE, EXPR_RESULT_FILE
from shoal.tune.storage import filesystem_name, is_local_filesystem, local_filesystem


@dataclass
class Result:
    """The outcome of one trial: its last ``metrics``, latest ``checkpoint``, ``error`` (None when it ended well) and
    ``path``."""

    metrics: dict[str, Any] | None
    checkpoint: Checkpoint | None
    error: BaseException | None
    path: str
    metrics_dataframe: Any = None
    best_checkpoints: list[tuple[Checkpoint, dict[str, Any]]] | None = None
    _storage_filesystem: Any = None

    @property
    def config(self) -> dict[str, Any] | None:
        """The trial's configuration."""
        return (self.metrics or {}).get("config")

    @property
    def filesystem(self) -> Any:
        return self._storage_filesystem if self._storage_filesystem is not None else local_filesystem()

    def get_best_checkpoint(self, metric: str, mode: str) -> Checkpoint | None:
        """The kept checkpoint with the best ``metric``; None without checkpoints. Raises RuntimeError when none has that
        metric."""
        check_mode(mode, required=True)
        if not self.best_checkpoints:
            return None
        scored = [(flatten_dict(metrics).get(metric), checkpoint) for checkpoint, metrics in self.best_checkpoints]
        known = [(value, checkpoint) for value, checkpoint in scored if value is not None]
        if not known:
            names = sorted({key for _, metrics in self.best_checkpoints for key in flatten_dict(metrics)})
            raise RuntimeError(f"no checkpoint has the metric {metric!r}; there are {names}")
        return (max if mode == "max" else min)(known, key=lambda item: item[0])[1]

    @classmethod
    def from_path(cls, path: str | os.PathLike[str], storage_filesystem: Any = None) -> Result:
        """The result of the trial whose folder is ``path``. Raises RuntimeError when nothing was reported there."""
        folder = os.fspath(path)
        file = os.path.join(folder, EXPR_RESULT_FILE)
        if not os.path.exists(file):
            raise RuntimeError(f"no results of a trial at path={folder!r}: no file {EXPR_RESULT_FILE} in it")
        with open(file, encoding="utf-8") as opened:
            results = [json.loads(line) for line in opened if line.strip()]
        import pandas as pd

        names = sorted(name for name in os.listdir(folder) if name.startswith(CHECKPOINT_PREFIX))
        by_name = {result[CHECKPOINT_DIR_NAME]: result for result in results if result.get(CHECKPOINT_DIR_NAME)}
        checkpoints = [(Checkpoint(os.path.join(folder, name)), by_name.get(name, {})) for name in names]
        return cls(
            metrics=results[-1] if results else {},
            checkpoint=checkpoints[-1][0] if checkpoints else None,
            error=_read_error(os.path.join(folder, EXPR_ERROR_PICKLE_FILE)),
            path=folder,
            metrics_dataframe=pd.json_normalize(results, sep="/"),
            best_checkpoints=checkpoints,
            _storage_filesystem=storage_filesystem,
        )

    def _lines(self) -> list[str]:
        shown = []
        if self.error is not None:
            shown.append(f"error={type(self.error).__name__!r}")
        metrics = {key: value for key, value in (self.metrics or {}).items() if key not in AUTO_RESULT_KEYS}
        shown.append(f"metrics={metrics}")
        shown.append(f"path={self.path!r}")
        local = self._storage_filesystem is None or is_local_filesystem(self._storage_filesystem)
        shown.append(
            f"filesystem={'local' if local else filesystem_name(self._storage_filesystem)!r}".replace("=local", "='local'")
        )
        shown.append(f"checkpoint={self.checkpoint}")
        return shown

    def __repr__(self) -> str:
        return "Result(\n  " + ",\n  ".join(self._lines()) + "\n)"


def _read_error(file: str) -> BaseException | None:
    if not os.path.exists(file):
        return None
    import cloudpickle

    with open(file, "rb") as opened:
        error: BaseException = cloudpickle.load(opened)
    return error


class ResultGrid:
    """The results of all trials, in the order in which they were made: ``grid[0]``, ``len(grid)``, iteration."""

    def __init__(self, experiment_analysis: ExperimentAnalysis) -> None:
        self._experiment_analysis = experiment_analysis
        self._results = [self._result_of(trial) for trial in experiment_analysis.trials or []]

    def get_best_result(
        self,
        metric: str | None = None,
        mode: str | None = None,
        scope: str = "last",
        filter_nan_and_inf: bool = True,
    ) -> Result:
        """The result of the best trial by ``metric`` (default: the run's). A grid of one trial needs no metric.

        ``scope``: compare the last, or the best ("all"), "avg", "last-5-avg", "last-10-avg" values of the metric. Raises
        ValueError without metric or mode, RuntimeError when no trial has reported the metric.
        """
        analysis = self._experiment_analysis
        if len(self._results) == 1 and not metric and not analysis.default_metric:
            return self._results[0]
        if not metric and not analysis.default_metric:
            raise ValueError("get_best_result needs a metric when the run had none, but got metric=None")
        if not mode and not analysis.default_mode:
            raise ValueError("get_best_result needs a mode ('min' or 'max') when the run had none, but got mode=None")
        trial = analysis.get_best_trial(metric, mode, scope, filter_nan_and_inf)
        if trial is None:
            wanted = metric or analysis.default_metric
            raise RuntimeError(
                f"No best trial found for the metric {wanted!r}: no trial has reported it"
                f"{' as a finite number' if filter_nan_and_inf else ''}. Reported were {analysis.reported_metrics()}"
            )
        return self._result_of(trial)

    def get_dataframe(self, filter_metric: str | None = None, filter_mode: str | None = None) -> Any:
        """One row for each trial: its last result, or the one with the best ``filter_metric``."""
        return self._experiment_analysis.dataframe(metric=filter_metric, mode=filter_mode)

    @property
    def experiment_path(self) -> str:
        return self._experiment_analysis.experiment_path

    @property
    def filesystem(self) -> Any:
        return self._experiment_analysis.filesystem

    @property
    def errors(self) -> list[BaseException]:
        """The exceptions of the trials that have failed."""
        return [result.error for result in self._results if result.error is not None]

    @property
    def num_errors(self) -> int:
        return sum(trial.status == Trial.ERROR for trial in self._experiment_analysis.trials or [])

    @property
    def num_terminated(self) -> int:
        """How many trials have ended well."""
        return sum(trial.status == Trial.TERMINATED for trial in self._experiment_analysis.trials or [])

    def __len__(self) -> int:
        return len(self._results)

    def __getitem__(self, index: int) -> Result:
        return self._results[index]

    def __iter__(self) -> Iterator[Result]:
        return iter(self._results)

    def _result_of(self, trial: Trial) -> Result:
        metrics = {**trial.last_result}
        metrics.setdefault("config", trial.config)
        return _LazyResult(
            metrics=metrics,
            checkpoint=trial.checkpoint,
            error=trial.get_error() if trial.status == Trial.ERROR else None,
            path=trial.path,
            best_checkpoints=list(trial.get_trial_checkpoints()),
            _storage_filesystem=trial.storage.remote,
        ).of(trial, self._experiment_analysis)

    def __repr__(self) -> str:
        results = ",\n".join("\n".join("  " + line for line in repr(result).split("\n")) for result in self._results)
        return f"ResultGrid<[\n{results}\n]>"


class _LazyResult(Result):
    """A result that reads its dataframe from disk when it is asked for."""

    def of(self, trial: Trial, analysis: ExperimentAnalysis) -> _LazyResult:
        self.__dict__["_source"] = (trial, analysis)
        self.__dict__.pop("metrics_dataframe", None)
        return self

    def __getattribute__(self, name: str) -> Any:
        if name == "metrics_dataframe" and "metrics_dataframe" not in self.__dict__:
            source = self.__dict__.get("_source")
            self.__dict__["metrics_dataframe"] = source[1].trial_dataframe(source[0]) if source else None
        return super().__getattribute__(name)

    def __repr__(self) -> str:
        return "Result(\n  " + ",\n  ".join(self._lines()) + "\n)"
