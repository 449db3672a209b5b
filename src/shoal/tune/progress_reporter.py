"""What a run shows while it goes on: a live table in terminals and notebooks, plain lines elsewhere."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from shoal.tune.experiment.trial import Trial
from shoal.tune.flatten import flatten_dict
from shoal.tune.mode import check_mode
from shoal.tune.result import AUTO_RESULT_KEYS

_ROWS_MAX = 20
_LENGTH_MAX = 20
_LINE_PERIOD_S = 30.0
_STATUSES = (Trial.RUNNING, Trial.PENDING, Trial.PAUSED, Trial.TERMINATED, Trial.ERROR)


class ProgressReporter:
    """Subclass it and pass an instance as ``progress_reporter``: ``should_report`` is asked after events, then ``report`` is
    called."""

    def setup(
        self,
        start_time: float | None = None,
        total_samples: int | None = None,
        metric: str | None = None,
        mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Before the first trial."""

    def should_report(self, trials: list[Trial], done: bool = False) -> bool:
        raise NotImplementedError(f"{type(self).__name__} must define should_report")

    def report(self, trials: list[Trial], done: bool, *sys_info: Any) -> None:
        raise NotImplementedError(f"{type(self).__name__} must define report")


class TuneReporterBase(ProgressReporter):
    """Builds the status text: a line of counts, then a table of the trials.

    ``metric_columns`` and ``parameter_columns``: names, or ``{name: title}``; without them the table has up to ``infer_limit``
    of the metrics, and all parameters. Cells have at most ``max_column_length`` letters.
    """

    def __init__(
        self,
        *,
        metric_columns: Sequence[str] | dict[str, str] | None = None,
        parameter_columns: Sequence[str] | dict[str, str] | None = None,
        total_samples: int | None = None,
        max_progress_rows: int = _ROWS_MAX,
        max_error_rows: int = _ROWS_MAX,
        max_column_length: int = _LENGTH_MAX,
        max_report_frequency: float = 5,
        infer_limit: int = 3,
        print_intermediate_tables: bool | None = None,
        metric: str | None = None,
        mode: str | None = None,
        sort_by_metric: bool = False,
    ) -> None:
        self._metric_columns = _named(metric_columns)
        self._parameter_columns = _named(parameter_columns)
        self._total_samples = total_samples
        self._max_rows = max_progress_rows
        self._max_error_rows = max_error_rows
        self._max_column_length = max_column_length
        self._period_s = max_report_frequency
        self._infer_limit = infer_limit
        self._print_intermediate = print_intermediate_tables if print_intermediate_tables is not None else True
        self._metric, self._mode = metric, check_mode(mode)
        self._sort = sort_by_metric
        self._reported_at = 0.0
        self._started_at = time.time()

    def setup(
        self,
        start_time: float | None = None,
        total_samples: int | None = None,
        metric: str | None = None,
        mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        self._started_at = start_time or time.time()
        self._total_samples = self._total_samples or total_samples
        self._metric, self._mode = self._metric or metric, self._mode or mode

    def add_metric_column(self, metric: str, representation: str | None = None) -> None:
        """Shows ``metric``, under ``representation``. Raises ValueError when it is shown already."""
        if metric in self._metric_columns:
            raise ValueError(f"metric {metric!r} has a column already")
        self._metric_columns[metric] = representation or metric

    def add_parameter_column(self, parameter: str, representation: str | None = None) -> None:
        if parameter in self._parameter_columns:
            raise ValueError(f"parameter {parameter!r} has a column already")
        self._parameter_columns[parameter] = representation or parameter

    def should_report(self, trials: list[Trial], done: bool = False) -> bool:
        now = time.monotonic()
        if done or (self._print_intermediate and now - self._reported_at >= self._period_s):
            self._reported_at = now
            return True
        return False

    def progress_text(self, trials: list[Trial], done: bool) -> str:
        columns, rows = table_of(
            trials,
            self._metric_columns,
            self._parameter_columns,
            self._metric,
            self._mode,
            self._max_rows,
            self._sort,
            inferred_max=self._infer_limit,
            length_max=self._max_column_length,
        )
        lines = [status_line(trials, self._total_samples, time.time() - self._started_at), _plain_table(columns, rows)]
        failed = [trial for trial in trials if trial.status == Trial.ERROR][: self._max_error_rows]
        lines += [f"failed: {trial}: {trial.error_file or trial.error_text}" for trial in failed]
        return "\n".join(line for line in lines if line)


class CLIReporter(TuneReporterBase):
    """Prints the status to the terminal."""

    def report(self, trials: list[Trial], done: bool, *sys_info: Any) -> None:
        print("\n".join([self.progress_text(trials, done), *map(str, sys_info)]))


class JupyterNotebookReporter(TuneReporterBase):
    """Shows the status in a notebook's cell; ``overwrite`` replaces what the cell showed."""

    def __init__(self, overwrite: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if importlib.util.find_spec("IPython") is None:
            raise ImportError("JupyterNotebookReporter needs IPython: pip install ipython")
        self._overwrite = overwrite

    def report(self, trials: list[Trial], done: bool, *sys_info: Any) -> None:
        from IPython.display import HTML, clear_output, display  # type: ignore[import-not-found]

        if self._overwrite:
            clear_output(wait=True)
        display(HTML(f"<pre>{self.progress_text(trials, done)}</pre>"))


def _named(columns: Sequence[str] | dict[str, str] | None) -> dict[str, str]:
    if columns is None:
        return {}
    return dict(columns) if isinstance(columns, dict) else {name: name for name in columns}


def status_line(trials: list[Trial], total: int | None, elapsed_s: float) -> str:
    counts = dict.fromkeys(_STATUSES, 0)
    for trial in trials:
        counts[trial.status] += 1
    shown = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return f"Trials: {len(trials)}{f'/{total}' if total else ''} ({shown or 'none yet'}), {elapsed_s:.1f} s"


def table_of(
    trials: list[Trial],
    metrics: dict[str, str],
    parameters: dict[str, str],
    metric: str | None,
    mode: str | None,
    rows_max: int,
    sort: bool,
    inferred_max: int = 3,
    length_max: int = _LENGTH_MAX,
) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: the running trials first, then the best, or the latest, of the others. Without ``metrics``, ``metric`` or
    the first ``inferred_max`` that were reported; cells have at most ``length_max`` letters."""
    chosen = chosen_trials(trials, metric, mode, rows_max, sort)
    parameters = parameters or {name: name for name in dict.fromkeys(name for t in chosen for name in t.evaluated_params)}
    if not metrics:
        names = (
            [metric] if metric else [name for trial in chosen[:1] for name in trial.metric_analysis if not _is_automatic(name)]
        )
        names = names[:inferred_max]
        metrics = {name: name for name in ["training_iteration", *names, "time_total_s"] if name}
    rows = []
    for trial in chosen:
        flat = flatten_dict({key: value for key, value in trial.last_result.items() if key != "config"})
        config = flatten_dict(trial.config)
        rows.append(
            [str(trial), trial.status]
            + [shown(config.get(name, trial.evaluated_params.get(name)), length_max) for name in parameters]
            + [shown(flat[name], length_max) if name in flat else "" for name in metrics]
        )
    return ["trial", "status", *parameters.values(), *metrics.values()], rows


def _is_automatic(name: str) -> bool:
    return name in AUTO_RESULT_KEYS or name.startswith("config/")


def chosen_trials(trials: list[Trial], metric: str | None, mode: str | None, rows_max: int, sort: bool) -> list[Trial]:
    def score(trial: Trial) -> float:
        value = trial.metrics.get(metric, "last") if metric else None
        if value is None or value != value:
            return float("-inf")
        return value if mode != "min" else -value

    running = [trial for trial in trials if trial.status == Trial.RUNNING]
    others = [trial for trial in trials if trial.status != Trial.RUNNING and (trial.last_result or len(trials) <= rows_max)]
    others = sorted(others, key=score, reverse=True) if metric else others[::-1]
    chosen = (running + others)[:rows_max]
    return sorted(chosen, key=score, reverse=True) if sort and metric else chosen


def shown(value: Any, length_max: int = _LENGTH_MAX) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if len(text) <= length_max else "..." + text[len(text) - max(0, length_max - 3) :]


def _plain_table(columns: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    widths = [max(len(line[index]) for line in [columns, *rows]) for index in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in [columns, *rows]
    )


# -- what the runner uses
class RunReporter:
    """Shows nothing."""

    def update(self, controller: Any) -> None:
        """After events were handled."""

    def trial_ended(self, controller: Any, trial: Trial) -> None:
        """A trial has ended."""

    def finish(self, controller: Any) -> None:
        """After the last trial."""

    def next_update_s(self) -> float | None:
        """In how many seconds the reporter wants to be asked again, whatever happens; None: never."""
        return None


class _UserReporter(RunReporter):
    def __init__(self, reporter: ProgressReporter) -> None:
        self._reporter = reporter

    def update(self, controller: Any) -> None:
        trials = controller.trials_view()
        if self._reporter.should_report(trials, done=False):
            self._reporter.report(trials, False, controller.scheduler.debug_string())

    def finish(self, controller: Any) -> None:
        trials = controller.trials_view()
        if self._reporter.should_report(trials, done=True):
            self._reporter.report(trials, True, controller.scheduler.debug_string())


class LineReporter(RunReporter):
    """One line now and then, the table at the end."""

    def __init__(self, verbose: int, metric: str | None, mode: str | None, total: int) -> None:
        self._verbose = verbose
        self._metric, self._mode, self._total = metric, mode, total
        self._started_at = time.monotonic()
        self._shown_at = self._started_at

    def update(self, controller: Any) -> None:
        now = time.monotonic()
        if now - self._shown_at >= _LINE_PERIOD_S:
            self._shown_at = now
            self._print(status_line(controller.trials_view(), self._total, now - self._started_at) + self._best(controller))

    def trial_ended(self, controller: Any, trial: Trial) -> None:
        if trial.status == Trial.ERROR:
            last_line = ((trial.error_text or "").strip().splitlines() or ["without a message"])[-1]
            self._print(f"Trial {trial} failed: {last_line}; see {trial.error_file}")
        elif self._verbose >= 2:
            value = trial.metrics.get(self._metric, "last") if self._metric else None
            self._print(f"Trial {trial} ended" + (f": {self._metric}={shown(value)}" if value is not None else ""))

    def _best(self, controller: Any) -> str:
        if not self._metric:
            return ""
        best = chosen_trials(
            [trial for trial in controller.trials_view() if trial.metrics.get(self._metric, "last") is not None],
            self._metric,
            self._mode,
            1,
            True,
        )
        return f"; best {self._metric}={shown(best[0].metrics.get(self._metric, 'last'))} of {best[0]}" if best else ""

    def finish(self, controller: Any) -> None:
        trials = controller.trials_view()
        self._print(status_line(trials, self._total, time.monotonic() - self._started_at) + self._best(controller))
        columns, rows = table_of(trials, {}, {}, self._metric, self._mode, _ROWS_MAX, True)
        self._print(_plain_table(columns, rows))

    def _print(self, text: str) -> None:
        if text:
            print(text, flush=True)

    def next_update_s(self) -> float | None:
        return max(0.0, self._shown_at + _LINE_PERIOD_S - time.monotonic())


def make_reporter(
    reporter: ProgressReporter | None, verbose: int | None, experiment: Any, metric: str | None, mode: str | None, total: int
) -> RunReporter:
    """The reporter for a run; ``verbose`` 0 is silent, None means 1. RAY_AIR_NEW_OUTPUT=0 asks for a CLIReporter's tables."""
    level = 1 if verbose is None else int(verbose)
    if reporter is not None:
        if not isinstance(reporter, ProgressReporter):
            raise ValueError(f"progress_reporter must be a tune.ProgressReporter, but got progress_reporter={reporter!r}")
        reporter.setup(start_time=time.time(), total_samples=total, metric=metric, mode=mode)
        return _UserReporter(reporter)
    if level == 0:
        return RunReporter()
    if os.environ.get("RAY_AIR_NEW_OUTPUT", "1") == "0":
        kind = JupyterNotebookReporter if "ipykernel" in sys.modules else CLIReporter
        return make_reporter(kind(), verbose, experiment, metric, mode, total)
    if not _is_interactive():
        return LineReporter(level, metric, mode, total)
    from shoal.tune.live_table import LiveTable

    return LiveTable(level, metric, mode, total)


def _is_interactive() -> bool:
    if os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty() or "ipykernel" in sys.modules
