"""What code inside a trial calls: ``report``, ``get_checkpoint``, ``get_context``."""

from __future__ import annotations

import numbers
import os
import shutil
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from shoal.tune.checkpoint import Checkpoint
from shoal.tune.result import CHECKPOINT_DIR_NAME, CHECKPOINT_PREFIX
from shoal.tune.trainable.trial_information import TrialInformation

_MAX_BUFFERED = 256


class Session:
    """The channel between a trainable's thread and the actor that serves the controller.

    In lockstep, ``report`` returns when the controller has asked for the next result: nothing runs past a decision to stop.
    So it does for a result with a checkpoint, which is then on record and is where a killed run goes on. Others are buffered
    (at most 256) and handed over in one go.
    """

    def __init__(self, information: TrialInformation, complete: Any) -> None:
        self.information = information
        self.checkpoint: Checkpoint | None = information.checkpoint
        self._complete = complete
        self._next_index = information.next_checkpoint_index
        self._messages: deque[tuple[Any, ...]] = deque()
        self._changed = threading.Condition()
        self._unanswered = 0
        self._delivered = 0
        self._stopped = False

    # -- called by the trainable
    def report(self, metrics: dict[str, Any], checkpoint: Checkpoint | None = None) -> None:
        message = self._message(metrics, checkpoint)
        with self._changed:
            self._post_result(message)
            limit = 1 if self.information.lockstep or checkpoint is not None else _MAX_BUFFERED
            self._changed.wait_for(lambda: self._unanswered < limit or self._stopped)
            self._raise_if_stopped()

    def report_last(self, metrics: dict[str, Any]) -> None:
        """Reports what nothing follows; out of lockstep result and end go together, in one answer to the controller."""
        if self.information.lockstep:
            self.report(metrics)
            self.post("done")
            return
        message = self._message(metrics, None)
        with self._changed:
            self._post_result(message)
            self._messages.append(("done",))

    def _message(self, metrics: dict[str, Any], checkpoint: Checkpoint | None) -> tuple[Any, ...]:
        if not isinstance(metrics, dict):
            raise ValueError(f"metrics must be a dictionary, but got metrics={metrics!r} of type {type(metrics).__name__}")
        metrics = dict(metrics)
        stored = None
        if checkpoint is not None:
            stored = self._store(checkpoint)
            metrics[CHECKPOINT_DIR_NAME] = os.path.basename(stored.path)
            self.checkpoint = stored
        return ("result", self._complete(metrics), stored)

    def _post_result(self, message: tuple[Any, ...]) -> None:
        self._raise_if_stopped()
        self._unanswered += 1
        self._messages.append(message)
        self._changed.notify_all()

    def _raise_if_stopped(self) -> None:
        if self._stopped:
            raise SystemExit("the trial was stopped")

    def _store(self, checkpoint: Checkpoint) -> Checkpoint:
        """Copies a reported checkpoint to its place among the trial's files."""
        if not isinstance(checkpoint, Checkpoint):
            raise ValueError(f"checkpoint must be a tune.Checkpoint, but got checkpoint={checkpoint!r}")
        name = f"{CHECKPOINT_PREFIX}{self._next_index:06d}"
        self._next_index += 1
        return store_checkpoint(checkpoint, self.information, name)

    # -- called by the actor
    def post(self, *message: Any) -> None:
        with self._changed:
            self._messages.append(message)
            self._changed.notify_all()

    def take(self) -> list[tuple[Any, ...]]:
        """Lets the trainable go on and returns its messages, at least one."""
        with self._changed:
            # What was handed over last time is answered now; a report that came since then waits for its own turn.
            self._answer_delivered()
            self._changed.wait_for(lambda: self._messages)
            taken = list(self._messages)
            self._messages.clear()
            self._delivered = sum(message[0] == "result" for message in taken)
            if not self.information.lockstep and all(message[0] != "result" or message[2] is None for message in taken):
                self._answer_delivered()
            return taken

    def _answer_delivered(self) -> None:
        self._unanswered -= self._delivered
        self._delivered = 0
        self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


def store_checkpoint(checkpoint: Checkpoint, information: TrialInformation, name: str) -> Checkpoint:
    """The checkpoint as ``name`` in the trial's folder, uploaded if that is remote."""
    trial_dir = information.trial_dir or os.getcwd()
    target = os.path.join(trial_dir, name)
    if not (checkpoint.is_local and os.path.abspath(checkpoint.path) == os.path.abspath(target)):
        shutil.rmtree(target, ignore_errors=True)  # what a run left that was stopped between storing and reporting
        checkpoint.to_directory(target)
    storage = information.storage
    if storage is None or storage.remote is None:
        return Checkpoint(target)
    storage.upload(target)
    shutil.rmtree(target, ignore_errors=True)
    return Checkpoint(f"{storage.trial_fs_path}/{name}", filesystem=storage.remote)


_session: Session | None = None
_of_thread = threading.local()
_at_end: list[Callable[[bool], None]] = []


def at_trial_end(call: Callable[[bool], None]) -> None:
    """Lets ``call(failed)`` be called when this trial's code has ended, in its thread. A trial that the run stops from outside
    may end with its process, without the call."""
    _at_end.append(call)


def end_trial(failed: bool) -> None:
    """Calls what ``at_trial_end`` was given, the last one first."""
    while _at_end:
        _at_end.pop()(failed)


def set_session(session: Session | None) -> None:
    global _session
    _session = session


def bind_session(session: Session) -> None:
    """Makes ``session`` that of this thread, whatever else runs in the process (in inline mode a trial that was stopped)."""
    _of_thread.session = session


def get_session() -> Session | None:
    """The session of this thread, or else of this process: threads that a trainable starts report, too."""
    own: Session | None = getattr(_of_thread, "session", None)
    return own if own is not None else _session


def shutdown_session() -> None:
    set_session(None)


def report(metrics: dict[str, Any] | None = None, *, checkpoint: Checkpoint | None = None, **more: Any) -> None:
    """Hands metrics, and a checkpoint if there is one, to the run; ``report(loss=0.1)`` is ``report({"loss": 0.1})``.

    Returns when the trial may go on; a trial that was stopped leaves by SystemExit. Raises RuntimeError outside of a trial.
    """
    session = get_session()
    if session is None:
        raise RuntimeError("report is for code that runs inside of a trial (a function given to Tuner or tune.run)")
    if metrics is not None and not isinstance(metrics, dict):
        raise ValueError(f"metrics must be a dictionary, but got metrics={metrics!r} of type {type(metrics).__name__}")
    session.report({**(metrics or {}), **more}, checkpoint)


def get_checkpoint() -> Checkpoint | None:
    """The checkpoint to go on from, None at a fresh start."""
    session = get_session()
    return session.checkpoint if session is not None else None


class TrialContext:
    """Facts about the trial that asks; all None outside of one."""

    def __init__(self, information: TrialInformation) -> None:
        self._information = information

    def get_experiment_name(self) -> str | None:
        return self._information.experiment_name

    def get_trial_name(self) -> str | None:
        return self._information.trial_name

    def get_trial_id(self) -> str | None:
        return self._information.trial_id

    def get_trial_resources(self) -> Any:
        return self._information.resources

    def get_trial_dir(self) -> str | None:
        return self._information.trial_dir

    def get_storage(self) -> Any:
        return self._information.storage

    def get_world_size(self) -> int:
        return 1

    def get_world_rank(self) -> int:
        return 0

    def get_local_rank(self) -> int:
        return 0

    def get_local_world_size(self) -> int:
        return 1

    def get_node_rank(self) -> int:
        return 0

    def get_metadata(self) -> dict[str, Any]:
        return {}


def get_context() -> TrialContext:
    """Names, folder and resources of the trial that asks; empty outside of a trial."""
    session = get_session()
    return TrialContext(session.information if session is not None else TrialInformation())


def as_metrics(returned: Any) -> dict[str, Any] | None:
    """What a function returned or yielded, as metrics: a dictionary, or a number as ``_metric``. None reports nothing."""
    if returned is None:
        return None
    if isinstance(returned, dict):
        return returned
    if isinstance(returned, numbers.Number):
        return {"_metric": returned}
    raise ValueError(f"a trainable function must return (or yield) a dictionary or a number, but got {returned!r}")
