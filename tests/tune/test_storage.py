"""Experiments on remote storage, through real filesystems of fsspec that also trials' processes reach."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import fsspec
import pytest

from shoal import tune
from shoal.tune.storage import StorageContext, call_with_limit

pytestmark = pytest.mark.usefixtures("cluster")


class Shelf(fsspec.AbstractFileSystem):
    """``shelf:///folder`` is a local folder that is treated like any remote store; relative paths are below ``root``."""

    protocol = "shelf"

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        return str(path).removeprefix("shelf://").rstrip("/")

    def _at(self, path: str) -> str:
        return os.path.join(self.storage_options.get("root", "/"), self._strip_protocol(path))

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        os.makedirs(self._at(path), exist_ok=exist_ok)

    def put_file(self, lpath: str, rpath: str, **more: Any) -> None:
        Path(self._at(rpath)).write_bytes(Path(lpath).read_bytes())

    def get_file(self, rpath: str, lpath: str, **more: Any) -> None:
        Path(lpath).write_bytes(Path(self._at(rpath)).read_bytes())

    def find(self, path: str, **more: Any) -> list[str]:
        path = self._strip_protocol(path)
        return [f"{path}/{file.relative_to(self._at(path))}" for file in Path(self._at(path)).rglob("*") if file.is_file()]

    def exists(self, path: str, **more: Any) -> bool:
        return os.path.exists(self._at(path))

    def rm(self, path: str, recursive: bool = False, **more: Any) -> None:
        shutil.rmtree(self._at(path))

    def rm_file(self, path: str) -> None:
        os.unlink(self._at(path))

    def open(self, path: str, mode: str = "rb", **more: Any) -> Any:
        return open(self._at(path), mode)


fsspec.register_implementation("shelf", Shelf, clobber=True)


def train(config: dict[str, Any]) -> None:
    """Four steps from the latest checkpoint; the second trial fails once."""
    start = 0
    checkpoint = tune.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            start = int(Path(folder, "step").read_text()) + 1
    for step in range(start, 4):
        Path("state").mkdir(exist_ok=True)
        Path("state", "step").write_text(str(step))
        Path("artifact.txt").write_text("made by the trial")
        tune.report({"loss": config["x"] * step}, checkpoint=tune.Checkpoint.from_directory("state"))
        if step == 2 and config["x"] == 2 and not Path("failed").exists():
            Path("failed").touch()
            raise ValueError("once")


def tuner(storage_path: str, **run: Any) -> tune.Tuner:
    return tune.Tuner(
        train,
        param_space={"x": tune.grid_search([1, 2])},
        run_config=tune.RunConfig(
            name="run",
            storage_path=storage_path,
            failure_config=tune.FailureConfig(max_failures=1),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=2),
            verbose=0,
            **run,
        ),
    )


def places(kind: str, folder: Path) -> dict[str, Any]:
    if kind == "file URL":
        return {"storage_path": f"file://{folder}"}
    if kind == "local URL":
        return {"storage_path": f"local://{folder}"}
    if kind == "registered URL":
        return {"storage_path": f"shelf://{folder}"}
    return {"storage_path": "bucket/deep", "storage_filesystem": Shelf(root=str(folder))}


@pytest.mark.parametrize("kind", ["file URL", "local URL", "registered URL", "filesystem"])
def test_a_run_is_complete_there_and_goes_on_from_there(kind: str, tmp_path: Path) -> None:
    place = places(kind, tmp_path / "store")
    (tmp_path / "store").mkdir()
    grid = tuner(**place).fit()
    assert grid.num_errors == 0 and [result.metrics["loss"] for result in grid] == [3, 6]
    assert list(grid[1].metrics_dataframe["loss"]) == [0, 2, 4, 6]
    for result in grid:
        assert result.checkpoint is not None
        with result.checkpoint.as_directory() as folder:
            assert Path(folder, "step").read_text() == "3"
        assert result.get_best_checkpoint("loss", "min").path.endswith("checkpoint_000002")
    (experiment,) = (tmp_path / "store").rglob("run")
    names = sorted(path.name for path in experiment.glob("*_x=2*/*"))
    assert [name for name in names if name.startswith("checkpoint")] == ["checkpoint_000002", "checkpoint_000003"]
    assert {"result.json", "progress.csv", "params.json", "error.txt"} <= set(names)
    assert not list(experiment.rglob(".validate_storage_marker"))
    if kind != "file URL":
        assert "artifact.txt" not in names

    path, filesystem = f"{place['storage_path']}/run", place.get("storage_filesystem")
    assert tune.Tuner.can_restore(path, storage_filesystem=filesystem)
    restored = tune.Tuner.restore(path, train, storage_filesystem=filesystem)
    assert restored.get_results().num_terminated == 2
    assert [result.metrics["loss"] for result in restored.fit()] == [3, 6]


def test_artifacts_are_brought_along_when_asked(tmp_path: Path) -> None:
    tuner(**places("filesystem", tmp_path), sync_config=tune.SyncConfig(sync_artifacts=True)).fit()
    assert [path.read_text() for path in tmp_path.rglob("artifact.txt")] == ["made by the trial"] * 2


def test_the_local_copy_goes_with_the_process(tmp_path: Path) -> None:
    program = f"""
from shoal import tune
grid = tune.Tuner(
    lambda config: {{"loss": 1}}, run_config=tune.RunConfig(name="run", storage_path="local://{tmp_path}/store", verbose=0)
).fit()
print(grid._experiment_analysis.trials[0].local_path, len(grid[0].metrics_dataframe))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=50)
    folder, rows = ran.stdout.split()
    assert rows == "1" and not Path(folder).exists() and not Path(folder).parent.exists()
    assert len(list((tmp_path / "store" / "run").rglob("result.json"))) == 1


class Full(Shelf):
    """Takes the log of an experiment but no checkpoints."""

    def put_file(self, lpath: str, rpath: str, **more: Any) -> None:
        if "checkpoint_" in rpath:
            raise OSError(28, "No space left on device")
        super().put_file(lpath, rpath, **more)


def test_a_checkpoint_that_cannot_be_stored_fails_its_trial_with_the_reason(tmp_path: Path) -> None:
    grid = tuner("bucket", storage_filesystem=Full(root=str(tmp_path))).fit()
    assert grid.num_errors == 2
    assert "No space left on device" in str(grid.errors[0]) and "checkpoint_000000" in str(grid.errors[0])


class Flaky(Shelf):
    """Loses its connection for the first results of each trial."""

    def put_file(self, lpath: str, rpath: str, **more: Any) -> None:
        lost = Path(self._at("lost"))
        if rpath.endswith("result.json") and not lost.exists():
            lost.touch()
            raise ConnectionError("the line is down")
        super().put_file(lpath, rpath, **more)


class Broken(Shelf):
    def put_file(self, lpath: str, rpath: str, **more: Any) -> None:
        if rpath.endswith("result.json"):
            raise ConnectionError("the line is down")
        super().put_file(lpath, rpath, **more)


def test_results_that_do_not_get_there_are_tried_again_and_then_an_error_that_says_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "flaky").mkdir()
    assert tuner("bucket", storage_filesystem=Flaky(root=str(tmp_path / "flaky"))).fit().num_errors == 0
    assert len(list((tmp_path / "flaky").rglob("result.json"))) == 2
    broken = tuner("bucket", storage_filesystem=Broken(root=str(tmp_path / "broken")))
    with pytest.raises(OSError, match="it stays here: the line is down") as raised:
        broken.fit()
    folder = str(raised.value).split(" could not")[0]
    assert len(Path(folder, "result.json").read_text().splitlines()) == 4


class ReadOnly(Shelf):
    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")


def test_storage_that_cannot_be_written_is_named_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="storage_path must be writable, but got storage_path='bucket': .*Permission denied"):
        tuner("bucket", storage_filesystem=ReadOnly(root=str(tmp_path))).fit()


def test_storage_of_one_process_is_refused() -> None:
    with pytest.raises(ValueError, match="must outlive a process, but got storage_path='memory://x'"):
        StorageContext("memory://x", "run")
    with pytest.raises(ValueError, match="nowhere"):
        tuner("nowhere://bucket").fit()


def test_an_upload_that_takes_too_long_is_an_error() -> None:
    release = threading.Event()
    with pytest.raises(TimeoutError, match="not done after sync_timeout=0.01 seconds"):
        call_with_limit(release.wait, 0.01)
    release.set()
    call_with_limit(lambda: None, 10)
    with pytest.raises(KeyError):
        call_with_limit(lambda: {}["missing"], 10)
