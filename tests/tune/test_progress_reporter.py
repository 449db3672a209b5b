"""What a run shows: a table at a terminal, lines elsewhere. The trials are those of a played controller."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console
from tests.tune.simulation import play

from shoal import tune
from shoal.tune.live_table import LiveTable
from shoal.tune.progress_reporter import LineReporter, make_reporter


@pytest.fixture
def played(make_controller) -> Any:
    space = {"net": {"learning_rate": tune.grid_search([0.125, None])}, "depth": tune.grid_search([1, 2, 3])}
    controller = make_controller(space, cpus=2)
    play(controller, lambda config, iteration: config["depth"] * iteration, 2)
    return controller


def drawn(stream: io.StringIO) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())


def live(**arguments: Any) -> tuple[LiveTable, io.StringIO]:
    stream = io.StringIO()
    return LiveTable(
        1, "score", "max", 6, Console(file=stream, force_terminal=True, width=100, no_color=True, _environ={"TERM": "xterm"})
    ), stream


def test_the_table_that_stays_shows_the_best_first_and_every_value(played) -> None:
    table, stream = live()
    table.finish(played)
    text = drawn(stream)
    assert "6 of 6 trials done" in text
    rows = [line for line in text.splitlines() if "done │" in line or "done  │" in line]
    assert len(rows) == 6
    cells = [[cell.strip() for cell in row.strip("│").split("│")] for row in rows]
    assert [cell[2:6] for cell in cells[:2]] in (
        [["3", "0.125", "2", "6"], ["3", "None", "2", "6"]],
        [["3", "None", "2", "6"], ["3", "0.125", "2", "6"]],
    )
    assert "learning" in text and "net/" not in text


def test_while_it_runs_running_trials_stand_above_the_best_and_a_bar_shows_the_share(make_controller) -> None:
    controller = make_controller({"depth": tune.grid_search([1, 2, 3])}, cpus=1)
    controller.fill()
    table, stream = live()
    table._shown_at = 0.0
    table.update(controller)
    table.finish(controller)
    text = drawn(stream)
    assert "0 of 6 trials done, 1 running" in text and "━━━━" in text and "│ running │" in text
    assert 0 <= table.next_update_s() <= table._period_s


def test_failed_trials_are_named_with_the_last_line_of_their_error(played, capsys) -> None:
    trial = played.get_trials()[0]
    trial.status, trial.error_text = "ERROR", "Traceback...\nValueError: no such depth\n"
    LineReporter(1, "score", "max", 6).trial_ended(played, trial)
    trial.status = "TERMINATED"
    assert "failed: ValueError: no such depth; see" in capsys.readouterr().out


def test_outside_of_terminals_there_are_plain_lines(played, capsys) -> None:
    reporter = make_reporter(None, None, None, "score", "max", 6)
    assert type(reporter) is LineReporter
    reporter.finish(played)
    first, heads, *rows = capsys.readouterr().out.splitlines()
    assert first.startswith("Trials: 6/6 (6 TERMINATED), ") and "; best score=6 of " in first
    assert heads.split()[:2] == ["trial", "status"] and len(rows) == 6 and "\x1b" not in "".join(rows)
    assert {"0.125", "None"} <= {cell for row in rows for cell in row.split()}


def test_verbose_0_says_nothing(played, capsys) -> None:
    reporter = make_reporter(None, 0, None, "score", "max", 6)
    reporter.update(played)
    reporter.trial_ended(played, played.get_trials()[0])
    reporter.finish(played)
    assert capsys.readouterr().out == ""


def test_a_reporter_of_the_user_is_asked_and_shown_the_trials(played, capsys) -> None:
    reporter = tune.CLIReporter(metric_columns=["score"], parameter_columns={"depth": "layers"}, max_report_frequency=0)
    shown = make_reporter(reporter, None, None, "score", "max", 6)
    shown.update(played)
    shown.finish(played)
    out = capsys.readouterr().out
    assert out.count("Trials: 6/6") == 2 and "layers" in out and "learning_rate" not in out
    with pytest.raises(ValueError, match="progress_reporter must be a tune.ProgressReporter, but got progress_reporter=3"):
        make_reporter(3, None, None, None, None, 1)  # type: ignore[arg-type]


def test_cells_are_cut_and_metrics_are_few_unless_the_reporter_says_otherwise(make_controller) -> None:
    controller = make_controller({"name": tune.grid_search(["a-very-long-name-indeed"])})
    play(controller, lambda config, iteration: 1.0, 1)
    (trial,) = controller.get_trials()
    trial.metrics.update({f"metric{number}": number for number in range(6)})

    def heads_and_row(**arguments: Any) -> list[list[str]]:
        text = tune.CLIReporter(**arguments).progress_text(controller.trials_view(), True)
        return [line.split() for line in text.splitlines()[1:]]

    heads, row = heads_and_row()
    assert heads == ["trial", "status", "name", "training_iteration", "score", "metric0", "metric1", "time_total_s"]
    assert row[2] == "...-long-name-indeed"
    heads, row = heads_and_row(max_column_length=40, infer_limit=1)
    assert heads == ["trial", "status", "name", "training_iteration", "score", "time_total_s"]
    assert row[2] == "a-very-long-name-indeed"


def test_the_former_output_is_the_tables_of_the_cli_reporter(played, capsys, monkeypatch) -> None:
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "0")
    shown = make_reporter(None, 1, None, "score", "max", 6)
    shown.update(played)
    assert "Trials: 6/6" in capsys.readouterr().out
    make_reporter(None, 0, None, "score", "max", 6).finish(played)
    assert capsys.readouterr().out == ""
