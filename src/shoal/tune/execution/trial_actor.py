"""The process of a trial."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TextIO

import cloudpickle

import shoal
from shoal.tune.checkpoint import Checkpoint
from shoal.tune.error import TuneError
from shoal.tune.execution.process_state import ProcessState
from shoal.tune.registry import register_environments
from shoal.tune.result import DONE, SHOULD_CHECKPOINT
from shoal.tune.trainable.function_trainable import FunctionTrainable
from shoal.tune.trainable.session import end_trial, store_checkpoint
from shoal.tune.trainable.trainable import Trainable
from shoal.tune.trainable.trial_information import TrialInformation
from shoal.util import native_threads

Message = tuple[Any, ...]


class TrialActor:
    """Runs one trial, or several one after the other. Messages: ("result", metrics, checkpoint), ("done", clean), ("error",
    exception, text, restoring), ("cannot_reset",)."""

    def __init__(self) -> None:
        self._trainable: Trainable | None = None
        self._class: type[Trainable] = Trainable
        self._shared = TrialInformation()
        self._streams: list[tuple[TextIO, TextIO]] = []
        self._log_handlers: list[tuple[Any, logging.Handler]] = []
        self._state = ProcessState()

    def begin(
        self,
        folder: str,
        facts: dict[str, Any],
        trainable_class: type[Trainable] | None = None,
        shared: TrialInformation | None = None,
    ) -> list[Message]:
        """Sets the trial up and returns its first messages. ``folder``: its name among the experiment's; ``facts``: fields of
        its TrialInformation. The first trial of a process comes with the class and with what is the same for all of them."""
        if trainable_class is not None and shared is not None:
            self._class, self._shared = trainable_class, shared
        storage = self._shared.storage.for_trial(folder)
        information = replace(self._shared, storage=storage, trial_dir=storage.trial_local_path, **facts)
        restoring = False
        try:
            if self._trainable is not None:
                if not self._trainable.reset(information.config, information):
                    return [("cannot_reset",)]
                self._state.renew()
                self._prepare_process(information)
            else:
                self._prepare_process(information)
                self._trainable = self._class(information.config, storage=information.storage, information=information)
            if information.checkpoint is not None:
                restoring = True
                self._trainable.restore(information.checkpoint)
                restoring = False
        except BaseException as error:
            return [_failure(error, traceback.format_exc(), restoring)]
        return self.next_messages()

    def next_messages(self, results_max: int = 1, time_s: float = 0.0) -> list[Message]:
        """What the trial has to say next; waits until there is something. A class trainable makes up to ``results_max`` steps,
        but begins none after ``time_s``."""
        trainable = self._trainable
        assert trainable is not None
        messages: list[Message] = []
        try:
            if isinstance(trainable, FunctionTrainable):
                messages = trainable.next_messages()
            else:
                messages.extend(("result", result, None) for result in _steps(trainable, results_max, time_s))
        except BaseException as error:
            text = traceback.format_exc()
            end_trial(failed=True)
            return [*messages, _failure(error, text)]
        self._flush()
        return [self._complete(message) for message in messages]

    def _complete(self, message: Message) -> Message:
        if message[0] == "error":
            return _failure(message[1], message[2])
        if message[0] == "done":
            assert isinstance(self._trainable, FunctionTrainable)
            self._trainable.stop()
            return ("done", not self._trainable.is_running and self._state.is_clean())
        return message

    def save(self, name: str) -> Checkpoint:
        """Stores a checkpoint as ``name`` among the trial's files."""
        assert self._trainable is not None
        information = self._trainable._information
        folder = os.path.join(information.trial_dir or os.getcwd(), name)
        return store_checkpoint(self._trainable.save(folder), information, name)

    def stop(self) -> None:
        if self._trainable is not None:
            self._trainable.stop()
        end_trial(failed=False)
        self._flush()

    def export(self, formats: list[str]) -> dict[str, str]:
        assert self._trainable is not None
        return self._trainable.export_model(formats, self._trainable.logdir)

    # -- the process
    def _prepare_process(self, information: TrialInformation) -> None:
        register_environments(information.environments)
        limit_native_threads(information)
        if information.trial_dir is not None:
            os.makedirs(information.trial_dir, exist_ok=True)
            if information.change_directory:
                os.chdir(information.trial_dir)
                if information.original_directory is not None:
                    os.environ["TUNE_ORIG_WORKING_DIR"] = information.original_directory
        self._redirect(information)

    def _redirect(self, information: TrialInformation) -> None:
        for file, original in self._streams:
            file.close()
            setattr(sys, "stdout" if original is sys.__stdout__ else "stderr", original)
        self._streams = []
        for target, handler in self._log_handlers:
            target.removeHandler(handler)
        self._log_handlers = []
        opened: dict[str, TextIO] = {}
        for stream, name in zip(("stdout", "stderr"), information.log_files, strict=True):
            if name is None or information.trial_dir is None:
                continue
            if name not in opened:
                path = os.path.join(information.trial_dir, name)
                opened[name] = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 - lives as long as the trial
            original = getattr(sys, stream)
            setattr(sys, stream, _Tee(original, opened[name]))
            self._streams.append((opened[name], original))
            if stream == "stderr":
                self._log_into(opened[name])

    def _log_into(self, file: TextIO) -> None:
        target = getattr(shoal, "logger", None) or logging.getLogger("shoal")
        handler = logging.StreamHandler(file)
        target.addHandler(handler)
        if target.level == logging.NOTSET:
            target.setLevel(logging.INFO)
        self._log_handlers.append((target, handler))

    def _flush(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(ValueError):
                stream.flush()


def _steps(trainable: Trainable, results_max: int, time_s: float) -> Iterator[dict[str, Any]]:
    """Results until there are enough, the time is over, or one of them asks for an answer."""
    end = time.monotonic() + time_s
    for _ in range(results_max):
        result = trainable.train()
        yield result
        if result.get(DONE) or result.get(SHOULD_CHECKPOINT) or time.monotonic() >= end:
            return


class _Tee:
    """Writes to two files at once."""

    def __init__(self, first: TextIO, second: TextIO) -> None:
        self._first = first
        self._second = second

    def write(self, text: str) -> int:
        self._second.write(text)
        return self._first.write(text)

    def flush(self) -> None:
        self._first.flush()
        if not self._second.closed:
            self._second.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._first, name)


def limit_native_threads(information: TrialInformation) -> None:
    """Lets BLAS, OpenMP and torch use as many threads as the trial has CPUs, unless the user has set OMP_NUM_THREADS."""
    threads = information.native_threads
    if threads is None or (threads == 1 and os.environ.get("OMP_NUM_THREADS") == "1"):
        return  # the user's choice; or what every worker begins with
    native_threads.limit_native_threads(threads)


def _failure(error: BaseException, text: str, restoring: bool = False) -> Message:
    try:
        cloudpickle.loads(cloudpickle.dumps(error))
    except Exception as problem:
        error = TuneError(f"{type(error).__name__}: {error} (the exception itself cannot be sent: {problem})")
    return ("error", error, text, restoring)
