"""The callbacks of training libraries, over doubles that call them as the libraries' documentation says: none is installed for
the tests."""

from __future__ import annotations

import importlib
import sys
from abc import ABC
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from shoal import tune
from shoal.tune.integration.lightgbm import TuneReportCallback as LightGBMReports
from shoal.tune.integration.lightgbm import TuneReportCheckpointCallback as LightGBMReportsAndModels
from shoal.tune.integration.ray_train import TuneReportCallback as TrainerReports
from shoal.tune.trainable.function_trainable import wrap_function
from shoal.tune.trainable.trial_information import TrialInformation


class SavedModel:
    """A model whose file holds the number of its rounds; it has the methods of XGBoost's and LightGBM's Booster."""

    def __init__(self, model_file: str | None = None) -> None:
        self.rounds = 0
        if model_file is not None:
            self.load_model(model_file)

    def save_model(self, path: str) -> None:
        Path(path).write_text(str(self.rounds))

    def load_model(self, path: str) -> None:
        self.rounds = int(Path(path).read_text())

    def num_boosted_rounds(self) -> int:
        return self.rounds


@pytest.fixture
def with_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Puts modules in the place of libraries and imports our module anew over them."""
    imported: list[str] = []

    def put(ours: str, **modules: Any) -> Any:
        for name, content in modules.items():
            module: Any = None
            if content is not None:
                module = ModuleType(name.replace("__", "."))
                vars(module).update(content, __path__=[])
            monkeypatch.setitem(sys.modules, name.replace("__", "."), module)
        imported.append(f"shoal.{ours}")
        sys.modules.pop(imported[-1], None)
        return importlib.import_module(imported[-1])

    yield put
    for name in imported:
        sys.modules.pop(name, None)


def results_of(
    tmp_path: Path, function: Callable[[dict[str, Any]], Any]
) -> list[tuple[dict[str, Any], tune.Checkpoint | None]]:
    """The metrics and checkpoints that ``function`` reports as a trial of this process."""
    trainable = wrap_function(function)({}, information=TrialInformation(trial_dir=str(tmp_path)))
    automatic = set(trainable.complete({}))
    found = []
    while True:
        for message in trainable.next_messages():
            if message[0] == "error":
                raise message[1]
            if message[0] == "done":
                trainable.stop()
                return found
            metrics = {name: value for name, value in message[1].items() if name not in automatic | {"checkpoint_dir_name"}}
            found.append((metrics, message[2]))


def rounds_in(checkpoint: tune.Checkpoint | None, filename: str) -> int | None:
    return None if checkpoint is None else SavedModel(str(Path(checkpoint.path) / filename)).rounds


# -- LightGBM
def boost_like_lightgbm(callback: Any, rounds: int = 5, results: Callable[[int], list[Any]] | None = None) -> None:
    """As ``lightgbm.train`` does: sets ``order`` in the callback's dictionary, puts callbacks in a set, calls them with an
    environment after each round."""
    callback.__dict__.setdefault("order", -1)
    model = SavedModel()
    for index in range(rounds):
        model.rounds = index + 1
        rows = results(index) if results else [("valid_0", "auc", 0.5 + index / 10, True), ("valid_0", "l2", 1.0, False)]
        for each in {callback}:
            each(SimpleNamespace(model=model, params={}, iteration=index, end_iteration=rounds, evaluation_result_list=rows))


@pytest.mark.usefixtures("cluster")
def test_lightgbm_reports_each_round_and_the_models_that_are_due(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        boost_like_lightgbm(LightGBMReportsAndModels({"auc": "valid_0-auc"}, frequency=2))

    grid = tune.Tuner(train, run_config=tune.RunConfig(storage_path=str(tmp_path), name="run", verbose=0)).fit()
    assert grid[0].metrics["auc"] == 0.9 and grid[0].metrics["training_iteration"] == 5 and "valid_0-l2" not in grid[0].metrics
    assert [rounds_in(checkpoint, "model.txt") for checkpoint, _ in grid[0].best_checkpoints] == [2, 4, 5]


def test_lightgbm_models_are_read_back_with_the_library(tmp_path: Path, with_library: Callable[..., Any]) -> None:
    ours = with_library("tune.integration.lightgbm", lightgbm={"Booster": SavedModel})
    found = results_of(tmp_path, lambda config: boost_like_lightgbm(ours.TuneReportCheckpointCallback(filename="m.txt")))
    assert [metrics["valid_0-auc"] for metrics, _ in found] == [0.5, 0.6, 0.7, 0.8, 0.9]
    assert [checkpoint is not None for _, checkpoint in found] == [False] * 4 + [True]
    assert ours.TuneReportCheckpointCallback.get_model(found[-1][1], "m.txt").rounds == 5


def test_lightgbm_cross_validation_reports_mean_and_deviation(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        callback = LightGBMReports(results_postprocessing_fn=lambda found: {**found, "count": len(found)})
        boost_like_lightgbm(callback, 1, lambda index: [("valid", "auc", 0.7, True, 0.1)])

    assert results_of(tmp_path, train) == [({"valid-auc-mean": 0.7, "valid-auc-stdv": 0.1, "count": 2}, None)]


def test_a_metric_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match=r"but got 'valid_0-acc'; reported are \['valid_0-auc', 'valid_0-l2'\]"):
        results_of(tmp_path, lambda config: boost_like_lightgbm(LightGBMReports("valid_0-acc")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metrics": 3}, "metrics must be a name, .* but got metrics=3"),
        ({"metrics": ["a", 3]}, r"metrics must be a name, .* but got metrics=\['a', 3\]"),
        ({"frequency": -1}, "frequency must be an integer >= 0, but got frequency=-1"),
        ({"filename": "a/b"}, "filename must be a name without folders, but got filename='a/b'"),
        ({"results_postprocessing_fn": 3}, "but got results_postprocessing_fn=3"),
    ],
)
def test_bad_arguments_are_refused_with_their_values(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        LightGBMReportsAndModels(**arguments)


# -- XGBoost
class TrainingCallback(ABC):  # noqa: B024 - as in XGBoost, which has a default for each method
    def before_training(self, model: Any) -> Any:
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        return False

    def after_training(self, model: Any) -> Any:
        return model


def boost_like_xgboost(callback: Any, rounds: int = 5, model: Any = None) -> Any:
    """As ``xgboost.train`` does with its callbacks."""
    if not isinstance(callback, TrainingCallback):
        raise TypeError("callback must be an instance of `TrainingCallback`.")
    model = callback.before_training(model or SavedModel())
    history: dict[str, dict[str, list[float]]] = {"train": {"logloss": []}, "eval": {"logloss": []}}
    for epoch in range(rounds):
        model.rounds = epoch + 1
        for data, offset in (("train", 0.0), ("eval", 0.5)):
            history[data]["logloss"].append(offset + 1 / (epoch + 1))
        if callback.after_iteration(model, epoch, history):
            break
    return callback.after_training(model)


XGBOOST = {"xgboost": {"Booster": SavedModel}, "xgboost__callback": {"TrainingCallback": TrainingCallback}}


def test_xgboost_reports_each_round_and_the_last_model_once_more(tmp_path: Path, with_library: Callable[..., Any]) -> None:
    ours = with_library("tune.integration.xgboost", **XGBOOST)
    callback = ours.TuneReportCheckpointCallback({"loss": "eval-logloss"}, frequency=2)
    found = results_of(tmp_path, lambda config: {"loss": -boost_like_xgboost(callback, 3).rounds})
    assert [metrics["loss"] for metrics, _ in found] == pytest.approx([1.5, 1.0, 0.5 + 1 / 3, 0.5 + 1 / 3, -3])
    assert [rounds_in(checkpoint, "model.ubj") for _, checkpoint in found] == [None, 2, None, 3, None]
    assert callback.get_model(found[1][1]).rounds == 2


def test_xgboost_does_not_save_the_last_model_twice(tmp_path: Path, with_library: Callable[..., Any]) -> None:
    ours = with_library("tune.integration.xgboost", **XGBOOST)
    callback = ours.TuneReportCheckpointCallback(frequency=2)
    found = results_of(tmp_path, lambda config: boost_like_xgboost(callback, 4) and None)
    assert [rounds_in(checkpoint, "model.ubj") for _, checkpoint in found] == [None, 2, None, 4]
    assert set(found[0][0]) == {"train-logloss", "eval-logloss"}
    again = results_of(tmp_path / "again", lambda config: boost_like_xgboost(callback, 2) and None)
    assert [rounds_in(checkpoint, "model.ubj") for _, checkpoint in again] == [None, 2]


def test_xgboost_metrics_alone_and_a_model_that_cannot_be_saved(tmp_path: Path, with_library: Callable[..., Any]) -> None:
    ours = with_library("tune.integration.xgboost", **XGBOOST)
    folds = SimpleNamespace(rounds=0, num_boosted_rounds=lambda: 2)  # what xgboost.cv has in the place of a model
    found = results_of(tmp_path, lambda config: boost_like_xgboost(ours.TuneReportCallback("eval-logloss"), 2, folds) and None)
    assert found == [({"eval-logloss": 1.5}, None), ({"eval-logloss": 1.0}, None)]
    with pytest.raises(TypeError, match="cannot be saved: use frequency=0, checkpoint_at_end=False"):
        results_of(tmp_path, lambda config: boost_like_xgboost(ours.TuneReportCheckpointCallback(), 2, folds))


# -- Keras
class KerasCallback:
    model: Any = None

    def set_model(self, model: Any) -> None:
        self.model = model

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *arguments, **more: None


class KerasModel(SavedModel):
    save = SavedModel.save_model

    def fit(self, callback: Any, epochs: int = 2) -> None:
        """As Keras does: logs by name or by position, after the index where there is one."""
        callback.set_model(self)
        callback.on_train_begin()
        for epoch in range(epochs):
            callback.on_epoch_begin(epoch)
            callback.on_train_batch_begin(0, logs={})
            callback.on_train_batch_end(0, logs={"loss": 9.0})
            self.rounds = epoch + 1
            callback.on_epoch_end(epoch, {"loss": 1 / (epoch + 1), "val_loss": 2.0})
        callback.on_train_end(logs={"loss": 0.1, "val_loss": 0.2})


KERAS = {
    "keras": {
        "callbacks": SimpleNamespace(Callback=KerasCallback),
        "models": SimpleNamespace(load_model=lambda path: SavedModel(path)),
    }
}


def test_keras_reports_each_epoch_with_the_model(tmp_path: Path, with_library: Callable[..., Any]) -> None:
    ours = with_library("tune.integration.keras", **KERAS)
    found = results_of(tmp_path, lambda config: KerasModel().fit(ours.TuneReportCheckpointCallback()))
    assert [metrics for metrics, _ in found] == [{"loss": 1.0, "val_loss": 2.0}, {"loss": 0.5, "val_loss": 2.0}]
    assert [rounds_in(checkpoint, "model.keras") for _, checkpoint in found] == [1, 2]
    assert ours.TuneReportCheckpointCallback.get_model(found[1][1]).rounds == 2


def test_keras_reports_at_the_events_it_is_told(tmp_path: Path, with_library: Callable[..., Any]) -> None:
    ours = with_library("tune.integration.keras", **KERAS)
    callback = ours.TuneReportCheckpointCallback("train_end", ["train_batch_end", "train_begin"], {"x": "loss"})
    with pytest.raises(KeyError, match=r"but got 'loss'; reported are \[\]"):
        results_of(tmp_path, lambda config: KerasModel().fit(callback))
    callback = ours.TuneReportCheckpointCallback("train_end", ["train_batch_end"], {"x": "loss"})
    found = results_of(tmp_path, lambda config: KerasModel().fit(callback))
    assert [(metrics, checkpoint is not None) for metrics, checkpoint in found] == [
        ({"x": 9.0}, False),
        ({"x": 9.0}, False),
        ({"x": 0.1}, True),
    ]
    alone = results_of(tmp_path, lambda config: KerasModel().fit(ours.TuneReportCallback("val_loss", on="epoch_end")))
    assert alone == [({"val_loss": 2.0}, None)] * 2
    with pytest.raises(ValueError, match="checkpoint_on must be among .* but got checkpoint_on='validation_end'"):
        ours.TuneReportCheckpointCallback("validation_end")


def test_the_keras_callback_of_air_is_the_same(with_library: Callable[..., Any]) -> None:
    ours = with_library("tune.integration.keras", **KERAS)
    assert with_library("air.integrations.keras").ReportCheckpointCallback is ours.TuneReportCheckpointCallback


# -- Lightning
class LightningCallback:
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Nothing."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Nothing."""

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        """Nothing."""


class Number(float):
    def item(self) -> float:
        return float(self)


class LightningTrainer(SavedModel):
    save_checkpoint = SavedModel.save_model
    sanity_checking = True
    callback_metrics: dict[str, Number]

    def fit(self, callback: Any, epochs: int = 2) -> None:
        """As Lightning does: a first validation that is only a check, then epochs; hooks are looked up by name."""
        self.callback_metrics = {"val_loss": Number(99)}
        callback.on_validation_end(self, "module")
        self.sanity_checking = False
        for epoch in range(epochs):
            self.rounds = epoch + 1
            callback.on_train_batch_end(self, "module", None, None, 0)
            self.callback_metrics = {"val_loss": Number(1 / (epoch + 1)), "val_acc": Number(0.5)}
            callback.on_validation_end(self, "module")


LIGHTNING = {"lightning": {"__spec__": SimpleNamespace()}, "lightning__pytorch": {"Callback": LightningCallback}}


def test_lightning_reports_each_validation_but_the_sanity_check(tmp_path: Path, with_library: Callable[..., Any]) -> None:
    ours = with_library("tune.integration.pytorch_lightning", **LIGHTNING)
    callback = ours.TuneReportCheckpointCallback({"loss": "val_loss"}, filename="trainer.ckpt")
    found = results_of(tmp_path, lambda config: LightningTrainer().fit(callback))
    assert [metrics for metrics, _ in found] == [{"loss": 1.0}, {"loss": 0.5}]
    assert [rounds_in(checkpoint, "trainer.ckpt") for _, checkpoint in found] == [1, 2]


def test_lightning_leaves_out_what_is_not_logged_yet(
    tmp_path: Path, with_library: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    ours = with_library("tune.integration.pytorch_lightning", **LIGHTNING)
    callback = ours.TuneReportCallback(["val_acc"], on=["train_batch_end", "validation_end"])
    found = results_of(tmp_path, lambda config: LightningTrainer().fit(callback))
    assert found == [({"val_acc": 0.5}, None)] * 3
    assert "the metric 'val_acc' is not among what the module has logged: ['val_loss']" in caplog.text
    with pytest.raises(ValueError, match="on must be among .*'validation_end'.* but got on='save_checkpoint'"):
        ours.TuneReportCallback(on="save_checkpoint")


# -- without them
@pytest.mark.parametrize(
    ("ours", "package"),
    [
        ("tune.integration.xgboost", "xgboost"),
        ("tune.integration.keras", "keras"),
        ("tune.integration.pytorch_lightning", "lightning"),
    ],
)
def test_a_missing_library_is_named(ours: str, package: str, with_library: Callable[..., Any]) -> None:
    with pytest.raises(ImportError, match=f"shoal.{ours} needs {package}: pip install {package}"):
        with_library(ours, xgboost=None, keras=None, lightning=None, pytorch_lightning=None)


def test_the_callback_of_distributed_trainers_says_what_to_do_instead() -> None:
    with pytest.raises(NotImplementedError, match="ray_train.TuneReportCallback .* call tune.report there"):
        TrainerReports()
