"""What loggers write, read back. The files of the trials lie where Ray puts them."""

from __future__ import annotations

import csv
import json
import math
import struct
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from shoal import tune
from shoal.tune.logger import CSVLoggerCallback, JsonLoggerCallback, TBXLoggerCallback
from shoal.tune.logger.aim import AimLoggerCallback

pytestmark = pytest.mark.usefixtures("cluster")


def reports_all_kinds_of_values(config: dict[str, Any]) -> None:
    for step in range(3):
        tune.report(
            {
                "loss": config["x"] * step,
                "numpy": np.float32(step),
                "nested": {"a": step},
                "text": "hello",
                "flag": True,
                "nan": math.nan,
                "array": np.arange(3),
            }
        )
    if config["x"] == 2:
        raise ValueError("two is refused")


def run(tmp_path: Path, *callbacks: Any) -> tune.ResultGrid:
    return tune.Tuner(
        reports_all_kinds_of_values,
        param_space={"x": tune.grid_search([1, 2]), "net": {"rate": 0.1}, "list": [1, None]},
        run_config=tune.RunConfig(storage_path=str(tmp_path), name="run", callbacks=list(callbacks), verbose=0),
    ).fit()


def scalars_of(file: Path) -> list[tuple[str, int, float]]:
    """The scalars of an event file: records of a length, its checksum, an event, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    data, found = file.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + length])
        found += [
            (value.tag, event.step, value.simple_value) for value in event.summary.value if value.HasField("simple_value")
        ]
        data = data[16 + length :]
    return found


def test_csv_json_and_event_files_hold_every_result_of_good_and_failed_trials(tmp_path: Path) -> None:
    grid = run(tmp_path)
    assert [type(error) for error in grid.errors] == [ValueError]
    for result in grid:
        folder = Path(result.path)
        x = result.config["x"]
        lines = [json.loads(line) for line in (folder / "result.json").read_text().splitlines()]
        assert [line["loss"] for line in lines] == [0, x, 2 * x]
        assert lines[2]["array"] == [0, 1, 2] and lines[2]["numpy"] == 2.0 and lines[2]["config"]["net"] == {"rate": 0.1}
        with open(folder / "progress.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["nested/a"] for row in rows] == ["0", "1", "2"] and rows[0]["config/net/rate"] == "0.1"
        (events,) = folder.glob("events.out.tfevents*")
        scalars = scalars_of(events)
        assert [value for tag, _, value in scalars if tag == "ray/tune/loss"][:3] == [0, x, 2 * x]
        assert ("ray/tune/nested/a", 3, 2.0) in scalars and ("ray/tune/numpy", 2, 1.0) in scalars
        assert not {"ray/tune/flag", "ray/tune/text", "ray/tune/nan", "ray/tune/pid"} & {tag for tag, _, _ in scalars}


def test_a_table_goes_on_with_the_columns_that_it_has(tmp_path: Path) -> None:
    trial = types.SimpleNamespace(trial_id="t", local_path=str(tmp_path / "trial"))
    for loss, more in ((1, {"text": "a,b\n"}), (2, {"new": 5})):
        logger = CSVLoggerCallback()
        logger.on_trial_result(1, [trial], trial, {"loss": loss, **more, "config": {"net": {"rate": 0.5}}})
        logger.on_trial_complete(1, [trial], trial)
    with open(tmp_path / "trial" / "progress.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"loss": "1", "text": "a,b\n", "config/net/rate": "0.5"},
        {"loss": "2", "text": "", "config/net/rate": "0.5"},
    ]


def test_loggers_that_the_user_gives_are_not_doubled_and_can_be_switched_off(tmp_path: Path, monkeypatch) -> None:
    result = run(tmp_path / "a", JsonLoggerCallback(), CSVLoggerCallback(), TBXLoggerCallback())[0]
    assert len((Path(result.path) / "result.json").read_text().splitlines()) == 3
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    result = run(tmp_path / "b")[0]
    assert not (Path(result.path) / "result.json").exists() and result.metrics["loss"] == 2


class _FakeAimRun:
    made: ClassVar[list[_FakeAimRun]] = []

    def __init__(self, **arguments: Any) -> None:
        self.arguments, self.values, self.tracked, self.is_closed = arguments, {}, [], False
        self.made.append(self)

    def __setitem__(self, key: str, value: Any) -> None:
        self.values[key] = value

    def track(self, value: float, name: str, step: int) -> None:
        self.tracked.append((name, step, value))

    def close(self) -> None:
        self.is_closed = True


def test_aim_has_a_run_for_each_trial(tmp_path: Path, monkeypatch) -> None:
    module = types.ModuleType("aim")
    module.Run = _FakeAimRun  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "aim", module)
    monkeypatch.setattr(_FakeAimRun, "made", [])
    run(tmp_path, AimLoggerCallback(metrics=["loss", "nested/a"]))
    by_x = {made.values["hparams"]["x"]: made for made in _FakeAimRun.made}
    assert by_x[1].arguments["repo"] == str(tmp_path / "run") and by_x[1].arguments["experiment"] == "run"
    assert by_x[1].tracked[-2:] == [("loss", 3, 2.0), ("nested/a", 3, 2.0)]
    assert by_x[1].values["hparams"] == {"x": 1, "net/rate": 0.1, "list": "[1, None]"}
    assert (by_x[1].values["status"], by_x[2].values["status"]) == ("finished", "failed")
    assert all(made.is_closed for made in by_x.values())


def test_a_logger_whose_library_is_missing_names_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "aim", None)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match="AimLoggerCallback needs aim: pip install aim;"):
        AimLoggerCallback()
    with pytest.raises(ImportError, match="TBXLoggerCallback needs tensorboardX: pip install tensorboardX"):
        TBXLoggerCallback()
