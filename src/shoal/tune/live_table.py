"""What a person at a terminal, or in a notebook, sees of a run: a bar, what runs, and the best so far, redrawn in place."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from shoal.tune.experiment.trial import Trial
from shoal.tune.flatten import flatten_dict
from shoal.tune.progress_reporter import LineReporter, chosen_trials, shown

_PERIOD_S = 0.25
_SHARE_MAX = 0.05
_BEST_ROWS = 8
_RUNNING_ROWS = 8
_PARAMETERS_MAX = 8
_COLOURS = {Trial.RUNNING: "cyan", Trial.ERROR: "red", Trial.PAUSED: "yellow", Trial.PENDING: "dim"}
_WORDS = {Trial.TERMINATED: "done", Trial.ERROR: "failed"}


class LiveTable(LineReporter):
    """Redraws at most four times a second, and so seldom that it takes at most 5 % of the time (it looks at all trials); leaves
    the best trials standing at the end."""

    def __init__(self, verbose: int, metric: str | None, mode: str | None, total: int, console: Console | None = None) -> None:
        super().__init__(verbose, metric, mode, total)
        self._console = console or Console()
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()
        self._period_s = _PERIOD_S

    def update(self, controller: Any) -> None:
        now = time.monotonic()
        if now - self._shown_at >= self._period_s:
            self._shown_at = now
            busy = time.thread_time()
            self._live.update(self._picture(controller.trials_view()), refresh=True)
            self._period_s = max(_PERIOD_S, (time.thread_time() - busy) / _SHARE_MAX)

    def next_update_s(self) -> float | None:
        return max(0.0, self._shown_at + self._period_s - time.monotonic())

    def finish(self, controller: Any) -> None:
        self._live.stop()
        trials = controller.trials_view()
        self._console.print(self._summary(trials))
        ended = [trial for trial in trials if trial.is_finished() and trial.last_result]
        best = chosen_trials(ended, self._metric, self._mode, _BEST_ROWS, True)
        if best:
            order = "best" if self._metric else "last"
            title = f"The {order} {len(best)} of {len(trials)} trials" if len(best) < len(trials) else None
            self._console.print(self._table(best, title))

    def _print(self, text: str) -> None:
        if text:
            self._console.print(text, markup=False, highlight=False)

    def _picture(self, trials: list[Trial]) -> Group:
        running = [trial for trial in trials if trial.status == Trial.RUNNING][:_RUNNING_ROWS]
        ended = [trial for trial in trials if trial.is_finished() and trial.last_result]
        best = chosen_trials(ended, self._metric, self._mode, _BEST_ROWS, True)
        parts: list[Any] = [self._summary(trials)]
        if self._total > 0:
            parts.append(ProgressBar(total=self._total, completed=sum(trial.is_finished() for trial in trials), width=60))
        if running or best:
            parts.append(self._table([*running, *best], None, line_after=len(running) if best else 0))
        return Group(*parts)

    def _summary(self, trials: list[Trial]) -> Text:
        counts = {status: sum(trial.status == status for trial in trials) for status in (*_WORDS, *_COLOURS)}
        of_all = f" of {self._total}" if self._total > 0 else ""
        line = Text(f"{counts[Trial.TERMINATED]}{of_all} trials done", style="bold")
        for status in (Trial.RUNNING, Trial.PAUSED, Trial.ERROR):
            if counts[status]:
                line.append(f", {counts[status]} {_WORDS.get(status, status.lower())}", style=_COLOURS[status])
        line.append(f", {time.monotonic() - self._started_at:.1f} s", style="not bold")
        return line

    def _table(self, trials: list[Trial], title: str | None, line_after: int = 0) -> Table:
        parameters = list(dict.fromkeys(name for trial in trials for name in trial.evaluated_params))[:_PARAMETERS_MAX]
        metrics = self._metrics_of(trials)
        table = Table(title=title, title_justify="left", title_style="", header_style="")
        table.add_column("trial", no_wrap=True)
        table.add_column("", no_wrap=True)
        for name in parameters:
            table.add_column(_heading(name), justify="right")
        for name in metrics:
            table.add_column(_heading(name), justify="right", style="bold" if name == self._metric else "", no_wrap=True)
        table.add_column("seconds", justify="right", no_wrap=True)
        for number, trial in enumerate(trials, start=1):
            table.add_row(*self._row(trial, parameters, metrics), end_section=number == line_after)
        return table

    def _metrics_of(self, trials: list[Trial]) -> list[str]:
        first = next((trial for trial in trials if trial.last_result), None)
        metrics = [self._metric] if self._metric else list(first.metric_analysis)[:3] if first is not None else []
        metrics = [name for name in metrics if name not in ("training_iteration", "time_total_s")]
        if any(trial.last_result.get("training_iteration", 0) > 1 for trial in trials):
            metrics.insert(0, "training_iteration")
        return metrics

    def _row(self, trial: Trial, parameters: list[str], metrics: list[str]) -> list[Any]:
        result = flatten_dict({key: value for key, value in trial.last_result.items() if key != "config"})
        config = flatten_dict(trial.config)
        word = _WORDS.get(trial.status, trial.status.lower())
        values = [config.get(name, trial.evaluated_params.get(name)) for name in parameters]
        elapsed = trial.last_result.get("time_total_s")
        if trial.status == Trial.RUNNING and trial.start_time_s is not None:
            elapsed = time.time() - trial.start_time_s
        return [
            trial.trial_id,
            Text(word, style=_COLOURS.get(trial.status, "green")),
            *[_short(value) for value in values],
            *[_short(result[name]) if name in result else "" for name in metrics],
            f"{elapsed:.1f}" if elapsed is not None else "",
        ]


def _heading(name: str) -> str:
    """The last part of a nested name, on two lines when it has two words or more."""
    return {"training_iteration": "iteration"}.get(name, name.rpartition("/")[2].replace("_", "\n", 1))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else shown(value)
