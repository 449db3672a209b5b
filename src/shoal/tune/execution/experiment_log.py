"""The state of an experiment on disk: an append-only log, so that a kill loses at most what was not yet written.

``experiment_state-<date>.json`` holds one JSON object per line. Each line states a fact about one trial; reading is applying
them in order. A torn last line is what a kill leaves, and is ignored. Beside it ``searcher-state-<date>.pkl`` holds the
searcher, the scheduler and the callbacks, rewritten now and then; trials that ended after it was written are told to the
searcher again.
"""

from __future__ import annotations

import base64
import glob
import io
import json
import os
import pickle
import time
from typing import Any, BinaryIO

import cloudpickle

from shoal.tune.checkpoint import Checkpoint
from shoal.tune.error import TuneError
from shoal.tune.execution.events import Record
from shoal.tune.experiment.experiment import Experiment
from shoal.tune.experiment.trial import Trial
from shoal.tune.flatten import flatten_dict
from shoal.tune.storage import StorageContext

LOG_PATTERN = "experiment_state-*.json"
SNAPSHOT_PATTERN = "searcher-state-*.pkl"
TUNER_FILE = "tuner.pkl"
_VERSION = 1


class ExperimentLog:
    """Writes the log of one experiment. ``flush`` after each group of events; nothing is kept in memory."""

    def __init__(self, storage: StorageContext) -> None:
        self._storage = storage
        self._folder = storage.experiment_driver_staging_path
        os.makedirs(self._folder, exist_ok=True)
        existing = sorted(glob.glob(os.path.join(self._folder, LOG_PATTERN)))
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
        self.path = existing[-1] if existing else os.path.join(self._folder, f"experiment_state-{stamp}.json")
        self._snapshot_path = os.path.join(self._folder, f"searcher-state-{stamp}.pkl")
        self._file: BinaryIO = open(self.path, "ab")  # noqa: SIM115 - closed in close()
        if existing:
            self._end_torn_line()
        else:
            self._write({"kind": "experiment", "version": _VERSION, "name": storage.experiment_dir_name})
        self._uploaded_at = 0.0
        self._snapshot_at = 0.0
        self._snapshot_cost_s = 0.0
        self._lines: list[bytes] = []
        self._resources: tuple[Any, Any] = (
            None,
            None,
        )  # the last trial's, and how they are written: mostly those of all trials

    def _end_torn_line(self) -> None:
        with open(self.path, "rb") as file:
            data_ends_with_line = file.seek(0, os.SEEK_END) == 0 or (file.seek(-1, os.SEEK_END), file.read(1))[1] == b"\n"
        if not data_ends_with_line:
            self._file.write(b"\n")

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record).encode() + b"\n")

    def record(self, record: Record) -> None:
        trial = record.trial
        line: dict[str, Any] = {"kind": record.kind, "id": trial.trial_id}
        if record.kind in ("trial", "restart"):
            if self._resources[0] is not trial.placement_group_factory:
                self._resources = (trial.placement_group_factory, _encode(trial.placement_group_factory))
            line.update(_trial_fields(trial), resources=self._resources[1], **record.fields)
        elif record.kind == "status":
            line.update(status=trial.status, time=time.time())
            if trial.is_finished():
                line["done"] = bool(trial.last_result.get("done"))
        elif record.kind == "config":
            line.update(config=_encode(trial.config), tag=trial.experiment_tag)
        elif record.kind == "result":
            result = record.fields["result"]
            line["result"] = {key: _encode(value) for key, value in result.items() if key != "config"}
        elif record.kind == "checkpoint":
            checkpoint = record.fields["checkpoint"]
            metrics = {key: value for key, value in record.fields["metrics"].items() if key != "config"}
            line.update(name=os.path.basename(checkpoint.path), metrics=_encode(metrics))
        elif record.kind == "error":
            line.update(failures=trial.num_failures, text=record.fields["text"])
        self._lines.append(json.dumps(line).encode() + b"\n")

    def flush(self) -> None:
        """Hands everything to the operating system, which keeps it when this process is killed."""
        if self._lines:
            self._file.write(b"".join(self._lines))
            self._lines.clear()
            self._file.flush()

    def snapshot_if_due(self, state: Any, force: bool = False) -> None:
        """Writes what ``state()`` returns, so seldom that it takes at most 5 % of the time (``TUNE_GLOBAL_CHECKPOINT_S`` fixes
        the period)."""
        now = time.monotonic()
        fixed = os.environ.get("TUNE_GLOBAL_CHECKPOINT_S", "auto")
        period_s = max(1.0, self._snapshot_cost_s * 20) if fixed == "auto" else float(fixed)
        if not force and now - self._snapshot_at < period_s:
            return
        self.flush()
        with open(self._snapshot_path + ".tmp", "wb") as file:
            file.write(dump_with_trials(state()))
        os.replace(self._snapshot_path + ".tmp", self._snapshot_path)
        self._snapshot_at = time.monotonic()
        self._snapshot_cost_s = self._snapshot_at - now

    def upload_if_due(self, period_s: float, force: bool = False) -> None:
        """Brings the log to remote storage."""
        if self._storage.remote is None or (not force and time.monotonic() - self._uploaded_at < period_s):
            return
        self.flush()
        self._uploaded_at = time.monotonic()
        for path in (self.path, self._snapshot_path, os.path.join(self._folder, TUNER_FILE)):
            self._storage.upload(path)

    def close(self) -> None:
        self.flush()
        self._file.close()


def _trial_fields(trial: Trial) -> dict[str, Any]:
    return {
        "config": _encode(trial.config),
        "evaluated_params": _encode(trial.evaluated_params),
        "tag": trial.experiment_tag,
        "name": trial.custom_trial_name,
        "dir": trial.storage.trial_dir_name,
        "trainable": trial.trainable_name,
        "status": trial.status,
    }


def _is_plain(value: Any) -> bool:
    if value is None or type(value) in (str, int, float, bool):
        return True
    if type(value) is list:
        return all(_is_plain(item) for item in value)
    return type(value) is dict and all(type(key) is str and _is_plain(item) for key, item in value.items())


def _encode(value: Any) -> Any:
    if _is_plain(value) and not (isinstance(value, dict) and "__pickled__" in value):
        return value
    return {"__pickled__": base64.b64encode(cloudpickle.dumps(value)).decode()}


def _decode(value: Any) -> Any:
    if isinstance(value, dict) and "__pickled__" in value:
        return pickle.loads(base64.b64decode(value["__pickled__"]))
    return value


def log_files(folder: str) -> list[str]:
    return sorted(glob.glob(os.path.join(folder, LOG_PATTERN)))


def read_trials(experiment: Experiment) -> list[Trial]:
    """The trials of ``experiment`` as its log describes them. Raises TuneError for a folder without a log, or a damaged one."""
    folder = experiment.storage.experiment_driver_staging_path
    files = log_files(folder)
    if not files:
        raise TuneError(f"{folder} holds no experiment: no file {LOG_PATTERN} in it")
    trials: dict[str, Trial] = {}
    with open(files[-1], "rb") as file:
        lines = file.read().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            fact = json.loads(line)
            _apply(experiment, trials, fact)
        except (ValueError, KeyError, pickle.UnpicklingError) as error:
            if number == len(lines) or _torn(lines, number):
                continue
            raise TuneError(f"the experiment is damaged: {files[-1]}, line {number}: {error}") from error
    earlier = None
    for trial in trials.values():
        trial.settle(earlier)
        earlier = trial
    return list(trials.values())


def _torn(lines: list[bytes], number: int) -> bool:
    """Whether the line is what a kill left: incomplete JSON that begins like a fact."""
    line = lines[number - 1]
    return line.startswith(b'{"kind"') and not line.rstrip().endswith(b"}")


def _apply(experiment: Experiment, trials: dict[str, Trial], fact: dict[str, Any]) -> None:
    kind = fact["kind"]
    if kind == "experiment":
        if fact["version"] != _VERSION:
            raise TuneError(f"the log has version {fact['version']}, but this Shoal reads version {_VERSION}")
        return
    if kind == "trial":
        if fact["id"] not in trials:
            trials[fact["id"]] = _trial_of(experiment, fact)
        return
    if kind == "restart":  # in the place of the old one
        before = list(trials.items())
        trials.clear()
        new = (fact["id"], _trial_of(experiment, fact))
        trials.update(new if name == fact["old"] else (name, trial) for name, trial in before)
        return
    trial = trials[fact["id"]]
    if kind == "status":
        trial.status = fact["status"]
        if fact.get("done"):
            trial.last_result["done"] = True
    elif kind == "config":
        trial.config, trial.experiment_tag = _decode(fact["config"]), fact["tag"]
    elif kind == "result":
        trial.last_result = {key: _decode(value) for key, value in fact["result"].items()}
        trial.last_result["config"] = trial.config
        trial.metrics.update(flatten_dict(fact["result"]))
    elif kind == "checkpoint":
        _apply_checkpoint(trial, fact)
    elif kind == "error":
        trial.num_failures, trial.error_text = fact["failures"], fact["text"]
        trial.error = _stored_error(trial)


def _trial_of(experiment: Experiment, fact: dict[str, Any]) -> Trial:
    trial = experiment.make_trial(_decode(fact["config"]), _decode(fact["evaluated_params"]), fact["id"], fact["tag"])
    trial.storage = experiment.storage.for_trial(fact["dir"])
    trial.custom_trial_name = fact["name"]
    trial.placement_group_factory = _decode(fact["resources"])
    trial.status = fact["status"]
    return trial


def _apply_checkpoint(trial: Trial, fact: dict[str, Any]) -> None:
    if trial.storage.remote is not None:
        checkpoint = Checkpoint(f"{trial.path}/{fact['name']}", filesystem=trial.storage.remote)
    else:
        checkpoint = Checkpoint(os.path.join(trial.local_path, fact["name"]))
    trial.checkpoints.add(checkpoint, _decode(fact["metrics"]))


def _stored_error(trial: Trial) -> BaseException:
    file = trial.pickled_error_file
    if file is not None:
        try:
            with open(file, "rb") as opened:
                error = pickle.load(opened)
            if isinstance(error, BaseException):
                return error
        except Exception as error:  # the class may be gone since
            return TuneError(f"{trial.error_text}\n(the exception itself cannot be read: {error})")
    return TuneError(trial.error_text or "")


# -- snapshots: trials inside of them are kept by their id
class _Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]
    def persistent_id(self, obj: Any) -> Any:
        return ("trial", obj.trial_id) if isinstance(obj, Trial) else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, trials: dict[str, Trial]) -> None:
        super().__init__(io.BytesIO(data))
        self._trials = trials

    def persistent_load(self, pid: Any) -> Any:
        return self._trials.get(pid[1])


def dump_with_trials(value: Any) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer).dump(value)
    return buffer.getvalue()


def read_snapshot(folder: str, trials: list[Trial]) -> dict[str, Any] | None:
    """What was last given to ``snapshot_if_due``, with ``trials`` in the place of those it held; None when there is none."""
    files = sorted(glob.glob(os.path.join(folder, SNAPSHOT_PATTERN)), key=os.path.getmtime)
    if not files:
        return None
    with open(files[-1], "rb") as file:
        data = file.read()
    try:
        snapshot: dict[str, Any] = _Unpickler(data, {trial.trial_id: trial for trial in trials}).load()
    except Exception as error:
        raise TuneError(f"the experiment is damaged: {files[-1]}: {error}") from error
    return snapshot
