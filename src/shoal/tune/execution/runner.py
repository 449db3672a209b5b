"""The shell of a run: does what the controller says, over actors, and waits for them without polling."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterable
from typing import Any

import cloudpickle

import shoal
from shoal.tune.callback import CallbackList
from shoal.tune.checkpoint import Checkpoint
from shoal.tune.error import TuneError
from shoal.tune.execution.events import (
    Continue,
    Copy,
    Delete,
    Event,
    Instruction,
    Notify,
    Record,
    Release,
    Save,
    Start,
    TimePassed,
    TrialEnded,
    TrialFailed,
    TrialReported,
    TrialSaved,
)
from shoal.tune.execution.experiment_log import ExperimentLog
from shoal.tune.execution.placement_groups import PlacementGroupFactory
from shoal.tune.execution.result_buffer import ResultBuffer
from shoal.tune.execution.trial_actor import TrialActor
from shoal.tune.execution.tune_controller import TuneController
from shoal.tune.experiment.experiment import Experiment
from shoal.tune.experiment.trial import Trial
from shoal.tune.registry import registered_environments
from shoal.tune.result import EXPR_ERROR_FILE, EXPR_ERROR_PICKLE_FILE
from shoal.tune.run_config import SyncConfig
from shoal.tune.setup_run import is_inline
from shoal.tune.stopper import CombinedStopper, NoopStopper
from shoal.tune.trainable.trial_information import TrialInformation
from shoal.util.placement_group import remove_placement_group
from shoal.util.scheduling_strategies import PlacementGroupSchedulingStrategy

logger = logging.getLogger(__name__)

_IDLE_ACTORS_MAX = 16


class _Process:
    """An actor and what it was given."""

    def __init__(self, actor: Any, resources: PlacementGroupFactory, group: Any) -> None:
        self.actor = actor
        self.resources = resources
        self.group = group
        self.pending: set[Any] = set()  # the refs of the calls that are open
        self.start: Start | None = None
        self.is_clean = False  # whether its last trial has left nothing behind


class TrialRunner:
    """Runs the trials of ``controller``. ``run()`` returns when all have ended; a KeyboardInterrupt leaves a resumable
    state."""

    def __init__(
        self,
        controller: TuneController,
        experiment: Experiment,
        callbacks: CallbackList,
        log: ExperimentLog,
        reporter: Any,
        *,
        reuse_actors: bool | None = None,
        change_directory: bool = True,
        runtime_env: dict[str, Any] | None = None,
        sync_config: SyncConfig | None = None,
    ) -> None:
        self._controller = controller
        self._experiment = experiment
        self._callbacks = callbacks
        self._log = log
        self._reporter = reporter
        self._reuse = reuse_actors
        self._change_directory = change_directory
        self._directory = _working_directory()
        self._inline = is_inline()
        self._buffer = ResultBuffer.of_environment()
        self._runtime_env = runtime_env
        self._sync = sync_config or SyncConfig()
        self._not_uploaded: set[Trial] = set()
        self._upload_error: OSError | None = None
        self._last_ended: Trial | None = None
        self._export_formats = experiment.spec["export_formats"]
        self._processes: dict[str, _Process] = {}
        self._waiting: dict[Any, tuple[str, str]] = {}  # ref -> (trial id, what it is)
        self._ending: dict[Any, _Process] = {}
        self._idle: list[_Process] = []
        self._iteration = 0
        self._actor_class = shoal.remote(TrialActor)
        self._trainable = _put_trainable(experiment)
        self._environments = registered_environments()

    def run(self) -> None:
        interrupted = False
        try:
            self._step(first=True)
            while not self._controller.is_finished():
                self._step()
        except KeyboardInterrupt:
            if os.environ.get("TUNE_DISABLE_SIGINT_HANDLER") == "1":
                raise
            interrupted = True
            logger.warning("The run was interrupted; it can be resumed with Tuner.restore(%r, ...)", self._experiment.path)
        finally:
            self._finish(interrupted)
        if self._upload_error is not None:
            raise self._upload_error
        self._experiment.storage.drop_local_copy_at_exit()

    def _step(self, first: bool = False) -> None:
        self._iteration += 1
        trials = self._controller.trials_view()
        self._callbacks.on_step_begin(iteration=self._iteration, trials=trials)
        instructions: list[Instruction] = []
        for event in () if first else self._wait():
            instructions.extend(self._apply(self._controller.handle(event)))
        self._log.flush()  # what a trial has reported is on record before it goes on: a kill loses one result of it, not more
        self._continue(instructions)
        self._continue(self._apply(self._controller.fill()))
        self._end_idle()
        self._log.flush()
        self._log.snapshot_if_due(self._snapshot)
        self._upload_log(self._sync.sync_period)
        self._callbacks.on_step_end(iteration=self._iteration, trials=trials)
        self._reporter.update(self._controller)

    def _snapshot(self) -> dict[str, Any]:
        controller = self._controller
        return {
            "search_alg": controller.search_alg.get_state(),
            "scheduler": controller.scheduler.get_state(),
            "callbacks": self._callbacks.get_state(),
            "finished": [trial.trial_id for trial in controller.get_trials() if trial.is_finished()],
        }

    # -- events
    def _wait(self) -> Iterable[Event]:
        """The next events: at least one, unless the clock had to be looked at."""
        references = [*self._waiting, *self._ending]
        if not references:
            raise TuneError("no trial is running and none can be started")
        ready, _ = shoal.wait(references, num_returns=1, timeout=self._wait_limit_s())
        if not ready:
            return [TimePassed()]
        if len(references) > 1:
            ready, _ = shoal.wait(references, num_returns=len(references), timeout=0)
        events: list[Event] = []
        for reference in ready:
            if reference in self._ending:
                self._end(self._ending.pop(reference))
            elif reference in self._waiting:
                events.extend(self._events_of(reference))
        return events

    def _wait_limit_s(self) -> float | None:
        limits = [self._reporter.next_update_s()]
        deadline = self._controller.stopper.deadline_s()
        if deadline is not None:
            limits.append(max(0.0, deadline - time.time()) + 0.001)
        elif _watches_the_clock(self._controller.stopper):
            limits.append(1.0)
        return min((limit for limit in limits if limit is not None), default=None)

    def _events_of(self, reference: Any) -> Iterable[Event]:
        trial_id, kind = self._waiting.pop(reference)
        process = self._processes[trial_id]
        process.pending.discard(reference)
        try:
            value = shoal.get(reference)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            preempted = bool(getattr(error, "preempted", False))
            yield TrialFailed(trial_id, error, "".join(traceback.format_exception(error)), preempted=preempted)
            return
        if kind == "save":
            yield TrialSaved(trial_id, value)
            return
        for message in value:
            if message[0] == "result":
                yield TrialReported(trial_id, _with_shared_names(message[1]), message[2])
            elif message[0] == "done":
                process.is_clean = message[1]
                yield TrialEnded(trial_id)
            elif message[0] == "error":
                yield TrialFailed(trial_id, message[1], message[2], restoring=message[3])
            elif message[0] == "cannot_reset":
                self._replace(trial_id, process)

    def _replace(self, trial_id: str, process: _Process) -> None:
        """An idle actor could not take over the trial: a new one does."""
        assert process.start is not None
        self._end_process(process, gracefully=True)
        self._begin(process.start, self._new_process(process.start.trial))

    # -- instructions
    def _apply(self, instructions: list[Instruction]) -> list[Instruction]:
        """Does all but the continuing, and returns that: a trial that has said more is not asked before it has been heard."""
        for instruction in instructions:
            if not isinstance(instruction, Continue):
                self._apply_one(instruction)
        return [instruction for instruction in instructions if isinstance(instruction, Continue)]

    def _continue(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            process = self._processes.get(instruction.trial.trial_id)
            if process is not None and not process.pending:
                self._call(instruction.trial, "next_messages", "results", *self._limits(instruction.trial))

    def _limits(self, trial: Trial) -> tuple[int, float]:
        """How many results the next answer may have; one where a scheduler may act on each."""
        if self._controller.scheduler.may_act():
            return 1, 0.0
        return self._buffer.limits(trial, self._controller.count(Trial.RUNNING))

    def _apply_one(self, instruction: Instruction) -> None:
        if isinstance(instruction, Record):
            self._log.record(instruction)
            if instruction.kind == "error":
                _write_error(instruction.trial, instruction.fields["error"], instruction.fields["text"])
        elif isinstance(instruction, Notify):
            self._notify(instruction)
        elif isinstance(instruction, Start):
            self._begin(instruction, self._idle_process(instruction.trial) or self._new_process(instruction.trial))
        elif isinstance(instruction, Save):
            self._call(instruction.trial, "save", "save", instruction.name)
        elif isinstance(instruction, Release):
            self._release(instruction)
        elif isinstance(instruction, Copy):
            _copy_checkpoint(instruction)
        elif isinstance(instruction, Delete):
            self._log.flush()  # the log must not name a checkpoint that is gone as the latest
            try:
                instruction.trial.storage.delete_trial_folder(os.path.basename(instruction.checkpoint.path))
            except OSError as error:
                logger.warning("a checkpoint that is no longer needed stays in the storage: %s", error)

    def _notify(self, notify: Notify) -> None:
        trials = self._controller.trials_view()
        self._callbacks.call(notify.hook, iteration=self._iteration, trials=trials, trial=notify.trial, **notify.more)
        if notify.hook in ("on_trial_complete", "on_trial_error"):
            self._upload(notify.trial)
            self._reporter.trial_ended(self._controller, notify.trial)
            notify.trial.settle(self._last_ended)
            self._last_ended = notify.trial
        elif notify.hook == "on_checkpoint" and self._sync.sync_artifacts and self._sync.sync_artifacts_on_checkpoint:
            self._upload(notify.trial)

    def _upload(self, trial: Trial) -> None:
        """Brings a trial's files to remote storage; what fails is tried again at the end."""
        if trial.storage.remote is None:
            return
        self._not_uploaded.discard(trial)
        try:
            trial.storage.upload_trial(trial.log_to_file or ())
        except OSError as error:
            self._not_uploaded.add(trial)
            self._upload_error = error
            logger.warning("%s", error)

    def _upload_log(self, period_s: float, force: bool = False) -> None:
        try:
            self._log.upload_if_due(period_s, force)
        except OSError as error:
            self._upload_error = error
            logger.warning("%s", error)

    def _upload_rest(self) -> None:
        """The last try: raises OSError when something of the run cannot be brought to its storage."""
        self._upload_error = None
        for trial in list(self._not_uploaded):
            self._upload(trial)
        self._upload_log(0.0, force=True)

    def _begin(self, start: Start, process: _Process) -> None:
        trial = start.trial
        is_new = process.start is None
        process.start = start
        self._processes[trial.trial_id] = process
        trial.start_time_s = trial.start_time_s or time.time()
        _make_folder(trial.local_path)
        checkpoint = start.checkpoint
        if checkpoint is None and trial.restore_path:
            checkpoint = Checkpoint(trial.restore_path)
        facts = {
            "trial_id": trial.trial_id,
            "trial_name": str(trial),
            "experiment_tag": trial.experiment_tag,
            "config": trial.config,
            "checkpoint": checkpoint,
            "counters": start.counters,
            "next_checkpoint_index": trial.checkpoints.next_index,
            "lockstep": start.lockstep,
            "log_files": trial.log_to_file or (None, None),
        }
        first = (self._trainable, self._shared_information(trial)) if is_new else ()
        self._call(trial, "begin", "results", str(trial.storage.trial_dir_name), facts, *first)

    def _shared_information(self, trial: Trial) -> TrialInformation:
        """What is the same for all trials that a process serves: told with the first one."""
        return TrialInformation(
            experiment_name=self._experiment.name,
            resources=trial.placement_group_factory,
            storage=self._experiment.storage,
            native_threads=self._native_threads(trial),
            change_directory=self._change_directory,
            original_directory=self._directory,
            environments=self._environments,
        )

    def _native_threads(self, trial: Trial) -> int | None:
        """One thread for each CPU of the trainable; None when the user has decided with OMP_NUM_THREADS, or it is the driver's
        process."""
        if self._inline or "OMP_NUM_THREADS" in os.environ:
            return None
        return max(1, int(trial.placement_group_factory.head_cpus))

    def _call(self, trial: Trial, method: str, kind: str, *arguments: Any) -> None:
        process = self._processes[trial.trial_id]
        reference = getattr(process.actor, method).remote(*arguments)
        process.pending.add(reference)
        self._waiting[reference] = (trial.trial_id, kind)

    def _idle_process(self, trial: Trial) -> _Process | None:
        for process in self._idle:
            if process.resources == trial.placement_group_factory:
                self._idle.remove(process)
                return process
        self._end_idle()  # idle actors of another shape hold what this trial needs
        return None

    def _end_idle(self) -> None:
        """Actors that no trial takes over at once give their resources back."""
        while self._idle:
            self._end_process(self._idle.pop(), gracefully=True)

    def _new_process(self, trial: Trial) -> _Process:
        resources = trial.placement_group_factory
        options = _actor_options({} if resources.head_bundle_is_empty else resources.bundles[0])
        if self._runtime_env:
            options["runtime_env"] = self._runtime_env
        group = None
        if not resources.is_single:
            group = resources()
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
                placement_group=group,
                placement_group_bundle_index=-1 if resources.head_bundle_is_empty else 0,
                placement_group_capture_child_tasks=True,
            )
        return _Process(self._actor_class.options(**options).remote(), resources, group)

    def _release(self, release: Release) -> None:
        process = self._processes.pop(release.trial.trial_id, None)
        if process is None:
            return
        was_busy = bool(process.pending)
        for reference in process.pending:
            self._waiting.pop(reference, None)
        process.pending.clear()
        if self._export_formats and release.gracefully and not release.trial.is_function:
            shoal.get(process.actor.export.remote(self._export_formats))
        reuse = (process.is_clean and not self._inline) if self._reuse is None else self._reuse
        process.is_clean = False
        if reuse and release.gracefully and not was_busy and len(self._idle) < _IDLE_ACTORS_MAX:
            self._idle.append(process)
            return
        self._end_process(process, release.gracefully)

    def _end_process(self, process: _Process, gracefully: bool) -> None:
        """Ends an actor; first its trainable where that has a clean-up, or no process that ends with it."""
        if self._inline or (gracefully and not self._experiment.trainable.is_function):
            self._ending[process.actor.stop.remote()] = process
            return
        self._end(process)

    def _end(self, process: _Process) -> None:
        shoal.kill(process.actor)
        if process.group is not None:
            remove_placement_group(process.group)

    def _finish(self, interrupted: bool) -> None:
        for process in [*self._processes.values(), *self._idle]:
            self._end_process(process, gracefully=not interrupted and process in self._idle)
        self._processes.clear()
        self._waiting.clear()
        self._idle.clear()
        if self._ending:
            limit_s = float(os.environ.get("TUNE_FORCE_TRIAL_CLEANUP_S", "600"))
            references = list(self._ending)
            shoal.wait(references, num_returns=len(references), timeout=0 if interrupted else limit_s)
            for process in self._ending.values():
                self._end(process)
            self._ending.clear()
        if self._directory is not None:
            os.chdir(self._directory)  # inline trials run in this process, and change it
        self._log.snapshot_if_due(self._snapshot, force=True)
        self._upload_rest()
        self._log.close()
        self._callbacks.on_experiment_end(trials=self._controller.get_trials())
        self._reporter.finish(self._controller)


def _put_trainable(experiment: Experiment) -> Any:
    """The trainable in the object store, once for all trials; raises TypeError naming what cannot be pickled."""
    try:
        cloudpickle.dumps(experiment.trainable)
    except Exception as error:
        raise TypeError(
            f"the trainable {experiment.trainable_name!r} cannot be pickled: {error}. It may refer to a lock, a file, a client "
            "or other things of this process: make them inside of the trainable, or see tune.utils.diagnose_serialization"
        ) from error
    return shoal.put(experiment.trainable)


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def _with_shared_names(result: dict[str, Any]) -> dict[str, Any]:
    """``result`` with one string for each name, in place of a copy in each result."""
    return {sys.intern(name) if type(name) is str else name: value for name, value in result.items()}


def _make_folder(path: str) -> None:
    """As os.makedirs, which asks four times about a folder whose parent is there."""
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    except FileNotFoundError:
        os.makedirs(path, exist_ok=True)


def _watches_the_clock(stopper: Any) -> bool:
    """Whether ``stop_all`` is the user's own, who may look at anything."""
    if isinstance(stopper, CombinedStopper):
        return any(_watches_the_clock(one) for one in stopper._stoppers)
    return not isinstance(stopper, NoopStopper) and not type(stopper).__module__.startswith("shoal.")


def _actor_options(bundle: dict[str, float]) -> dict[str, Any]:
    options: dict[str, Any] = {"num_cpus": bundle.get("CPU", 0), "num_gpus": bundle.get("GPU", 0), "max_restarts": 0}
    if bundle.get("memory"):
        options["memory"] = bundle["memory"]
    custom = {name: amount for name, amount in bundle.items() if name not in ("CPU", "GPU", "memory")}
    if custom:
        options["resources"] = custom
    return options


def _write_error(trial: Trial, error: BaseException, text: str) -> None:
    os.makedirs(trial.local_path, exist_ok=True)
    with open(os.path.join(trial.local_path, EXPR_ERROR_FILE), "a", encoding="utf-8") as file:
        file.write(f"Failure # {trial.num_failures} (occurred at {time.strftime('%Y-%m-%d_%H-%M-%S')})\n{text}\n")
    try:
        data = cloudpickle.dumps(error)
    except Exception:
        data = cloudpickle.dumps(TuneError(text))
    with open(os.path.join(trial.local_path, EXPR_ERROR_PICKLE_FILE), "wb") as binary:
        binary.write(data)


def _copy_checkpoint(copy: Copy) -> None:
    target = os.path.join(copy.trial.local_path, copy.name)
    shutil.rmtree(target, ignore_errors=True)
    copy.source.to_directory(target)
    if copy.trial.storage.remote is not None:
        copy.trial.storage.upload(target)
        shutil.rmtree(target, ignore_errors=True)
