"""Loggers of other systems, over stand-ins with the interface of each library: none of them is installed for the tests.

How to run them over the real ones by hand is in ``docs/tune.md``.
"""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest

import shoal
from shoal import tune
from shoal.air.integrations.comet import CometLoggerCallback
from shoal.air.integrations.mlflow import MLflowLoggerCallback, setup_mlflow
from shoal.air.integrations.wandb import WandbLoggerCallback, setup_wandb
from shoal.tune.trainable.session import end_trial


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    shoal.init(num_cpus=2)
    yield
    shoal.shutdown()


@pytest.fixture(autouse=True)
def only_the_logger_under_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")


def train(config: dict[str, Any]) -> None:
    for step in range(2):
        folder = Path(f"state-{step}")
        folder.mkdir()
        (folder / "weights").write_text(str(step))
        tune.report({"loss": config["x"] * step, "note": "text"}, checkpoint=tune.Checkpoint.from_directory(folder))
    if config["x"] == 2:
        raise ValueError("two is refused")


def run(tmp_path: Path, *callbacks: Any, function: Any = train, **space: Any) -> tune.ResultGrid:
    return tune.Tuner(
        function,
        param_space={"x": tune.grid_search([1, 2]), "net": {"rate": 0.1}, **space},
        run_config=tune.RunConfig(storage_path=str(tmp_path), name="run", callbacks=list(callbacks), verbose=0),
    ).fit()


# -- MLflow
class _Metric(NamedTuple):
    key: str
    value: float
    timestamp: int
    step: int


class _FakeMlflowClient:
    def __init__(self, tracking_uri: str | None, registry_uri: str | None) -> None:
        self.tracking_uri = tracking_uri
        self.runs: dict[str, dict[str, Any]] = {}

    def get_experiment_by_name(self, name: str) -> Any:
        return None

    def create_experiment(self, name: str) -> str:
        return f"id of {name}"

    def create_run(self, experiment_id: str, tags: dict[str, str]) -> Any:
        run_id = f"run {len(self.runs)}"
        self.runs[run_id] = {"experiment": experiment_id, "tags": tags, "params": {}, "metrics": [], "artifacts": []}
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_id))

    def log_param(self, run_id: str, key: str, value: Any) -> None:
        self.runs[run_id]["params"][key] = value

    def log_batch(self, run_id: str, metrics: list[_Metric]) -> None:
        self.runs[run_id]["metrics"] += metrics

    def log_artifacts(self, run_id: str, folder: str) -> None:
        self.runs[run_id]["artifacts"].append(folder)

    def set_terminated(self, run_id: str, status: str) -> None:
        self.runs[run_id]["status"] = status


def fake_mlflow(file: Path) -> Any:
    """A module whose own functions write their calls to ``file``: they are called in the processes of trials."""
    module: Any = types.ModuleType("mlflow")
    module.MlflowClient = _FakeMlflowClient
    module.entities = types.SimpleNamespace(Metric=_Metric)

    def recorded(name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> None:
            with open(file, "a") as opened:
                opened.write(json.dumps([name, args, kwargs]) + "\n")

        return call

    names = (
        "set_tracking_uri",
        "set_registry_uri",
        "create_experiment",
        "set_experiment",
        "start_run",
        "log_params",
        "end_run",
    )
    for name in names:
        setattr(module, name, recorded(name))

    def get_experiment(experiment_id: str) -> str:
        if experiment_id != "7":
            raise module.exceptions.MlflowException(f"no experiment {experiment_id}")
        return experiment_id

    module.exceptions = types.SimpleNamespace(MlflowException=type("MlflowException", (Exception,), {}))
    module.get_experiment = get_experiment
    module.get_experiment_by_name = lambda name: name if name == "known" else None
    return module


def test_mlflow_has_a_run_for_each_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", fake_mlflow(tmp_path / "calls"))
    callback = MLflowLoggerCallback(
        tracking_uri="sqlite:///x", experiment_name="digits", tags={"who": "me"}, save_artifact=True
    )
    grid = run(tmp_path, callback)
    client = callback._client
    assert client.tracking_uri == "sqlite:///x" and len(client.runs) == 2
    by_x = {made["params"]["x"]: made for made in client.runs.values()}
    first = by_x[1]
    assert first["experiment"] == "id of digits" and first["tags"]["who"] == "me" and first["params"]["net.rate"] == 0.1
    assert [(m.value, m.step) for m in first["metrics"] if m.key == "loss"] == [(0.0, 1), (1.0, 2)]
    assert "pid" not in {m.key for m in first["metrics"]} and "note" not in {m.key for m in first["metrics"]}
    assert first["artifacts"] == [grid[0].path]
    assert (first["status"], by_x[2]["status"]) == ("FINISHED", "FAILED")


def test_setup_mlflow_starts_a_run_that_ends_with_the_trial(tmp_path: Path) -> None:
    file = tmp_path / "calls"

    def uses_mlflow(config: dict[str, Any]) -> dict[str, Any]:
        sys.modules["mlflow"] = fake_mlflow(file)
        setup_mlflow(config, tracking_uri="file:///somewhere")
        if config["fail"]:
            raise ValueError("failed")
        return {"loss": 1}

    for fail, status in ((False, "FINISHED"), (True, "FAILED")):
        file.write_text("")
        run(tmp_path / str(fail), function=uses_mlflow, x=1, fail=fail)
        calls = [json.loads(line) for line in file.read_text().splitlines()]
        assert [name for name, _, _ in calls] == [
            "set_tracking_uri",
            "create_experiment",
            "set_experiment",
            "start_run",
            "log_params",
            "end_run",
        ]
        assert calls[2][1] == ["run"] and calls[3][2]["run_name"].startswith("uses_mlflow_")
        assert calls[4][1] == [{"x": 1, "net.rate": 0.1, "fail": fail}] and calls[5][1] == [status]


def test_setup_mlflow_takes_an_experiment_that_exists_or_makes_one_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", fake_mlflow(tmp_path / "calls"))
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "other")

    def experiments(**arguments: Any) -> list[list[Any]]:
        (tmp_path / "calls").write_text("")
        setup_mlflow(**arguments)
        calls = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
        return [call for call in calls if call[0].endswith("_experiment")]

    try:
        assert experiments(experiment_name="known", tracking_token="secret") == [["set_experiment", ["known"], {}]]
        assert os.environ["MLFLOW_TRACKING_TOKEN"] == "secret"
        assert experiments(experiment_id="7", experiment_name="new") == [["set_experiment", [], {"experiment_id": "7"}]]
        assert experiments(
            experiment_id="8", experiment_name="new", artifact_location="there", create_experiment_if_not_exists=True
        ) == [["create_experiment", ["new"], {"artifact_location": "there"}], ["set_experiment", ["new"], {}]]
        with pytest.raises(ValueError, match="must exist .* but got experiment_name='new', experiment_id=None"):
            setup_mlflow(experiment_name="new")
        with pytest.raises(ValueError, match="but got experiment_name=None, experiment_id='8'"):
            setup_mlflow(experiment_id="8")
    finally:
        end_trial(failed=False)  # what a trial does at its end


# -- Weights & Biases
class _FakeWandbRun:
    def __init__(self, **arguments: Any) -> None:
        self.arguments, self.logged, self.artifacts, self.exit_code = arguments, [], [], None

    def log(self, metrics: dict[str, Any]) -> None:
        self.logged.append(metrics)

    def log_artifact(self, artifact: Any) -> None:
        self.artifacts.append(artifact)

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code
        if "file" in self.arguments:  # in the process of a trial
            Path(self.arguments["file"]).write_text(f"{self.arguments['name']} {exit_code}")


class _FakeArtifact:
    def __init__(self, name: str, type: str) -> None:
        self.name, self.files = name, []

    def add_dir(self, folder: str) -> None:
        self.files += sorted(file.read_text() for file in Path(folder).iterdir())


@pytest.fixture
def wandb_runs(monkeypatch: pytest.MonkeyPatch) -> list[_FakeWandbRun]:
    made: list[_FakeWandbRun] = []

    def init(**arguments: Any) -> _FakeWandbRun:
        made.append(_FakeWandbRun(**arguments))
        return made[-1]

    module = types.ModuleType("wandb")
    module.init, module.Artifact = init, _FakeArtifact  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    return made


def test_wandb_has_a_run_for_each_trial(wandb_runs: list[_FakeWandbRun], tmp_path: Path) -> None:
    run(tmp_path, WandbLoggerCallback(project="digits", mode="offline", upload_checkpoints=True, excludes=["note"]))
    by_x = {made.arguments["config"]["x"]: made for made in wandb_runs}
    first = by_x[1].arguments
    assert (first["project"], first["mode"], first["group"], first["reinit"]) == ("digits", "offline", "run", "create_new")
    assert [metrics["loss"] for metrics in by_x[1].logged] == [0, 1]
    assert not {"note", "config", "pid"} & set(by_x[1].logged[0])
    assert [artifact.files for artifact in by_x[1].artifacts] == [["0"], ["1"]]
    assert (by_x[1].exit_code, by_x[2].exit_code) == (0, 1)


def test_wandb_takes_its_key_from_a_file_or_an_argument(wandb_runs: list[_FakeWandbRun], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "other")
    (tmp_path / "key").write_text("from the file\n")
    WandbLoggerCallback(api_key_file=str(tmp_path / "key"))
    assert os.environ["WANDB_API_KEY"] == "from the file"
    setup_wandb({"x": 1}, api_key="given", rank_zero_only=False, project="digits")
    end_trial(failed=True)
    assert os.environ["WANDB_API_KEY"] == "given" and wandb_runs[-1].exit_code == 1
    assert wandb_runs[-1].arguments["project"] == "digits" and "rank_zero_only" not in wandb_runs[-1].arguments
    with pytest.raises(ValueError, match="api_key and api_key_file cannot both be given"):
        setup_wandb(api_key="given", api_key_file="there")


def test_setup_wandb_starts_a_run_that_ends_with_the_trial(tmp_path: Path) -> None:
    class Uses(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            module = types.ModuleType("wandb")
            module.init = _FakeWandbRun  # type: ignore[attr-defined]
            sys.modules["wandb"] = module
            setup_wandb(config, name="named", file=config["file"])

        def step(self) -> dict[str, Any]:
            return {"loss": 1, "done": True}

    run(tmp_path, function=Uses, x=1, file=str(tmp_path / "ended"))
    assert (tmp_path / "ended").read_text() == "named 0"


# -- Comet
class _FakeExperiment:
    made: ClassVar[list[_FakeExperiment]] = []

    def __init__(self, **arguments: Any) -> None:
        self.arguments, self.calls = arguments, []
        self.made.append(self)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith(("log_", "set_", "add_", "end")):
            raise AttributeError(name)
        return lambda *args, **kwargs: self.calls.append((name, args, kwargs))

    def of(self, name: str) -> list[Any]:
        return [args[0] if args else None for called, args, _ in self.calls if called == name]


class _FakeOfflineExperiment(_FakeExperiment):
    pass


@pytest.mark.parametrize("online", [True, False])
def test_comet_has_an_experiment_for_each_trial(online: bool, tmp_path: Path, monkeypatch) -> None:
    module = types.ModuleType("comet_ml")
    module.Experiment, module.OfflineExperiment = _FakeExperiment, _FakeOfflineExperiment  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "comet_ml", module)
    monkeypatch.setattr(_FakeExperiment, "made", [])
    grid = run(tmp_path, CometLoggerCallback(online=online, tags=["t"], save_checkpoints=True, project_name="digits"))
    first, second = sorted(_FakeExperiment.made, key=lambda made: made.of("log_parameters")[0]["x"])
    assert isinstance(first, _FakeOfflineExperiment) is not online
    assert first.arguments["project_name"] == "digits" and first.of("add_tags") == [["t"]]
    assert first.arguments.get("offline_directory") == (None if online else grid[0].path)
    assert first.of("log_parameters") == [{"x": 1, "net/rate": 0.1}]
    assert [metrics["loss"] for metrics in first.of("log_metrics")] == [0, 1]
    assert first.of("log_others")[1] == {"note": "text"} and len(first.of("log_asset_folder")) == 2
    assert first.calls[-2:] == [("log_other", ("status", "finished"), {}), ("end", (), {})]
    assert ("log_other", ("status", "failed"), {}) in second.calls
