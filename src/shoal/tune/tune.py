"""``tune.run``: one call for a whole search."""

from __future__ import annotations

import datetime
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

from shoal.tune.analysis import ExperimentAnalysis
from shoal.tune.callback import CallbackList
from shoal.tune.error import TuneError
from shoal.tune.execution.experiment_log import ExperimentLog, log_files
from shoal.tune.execution.restore import resume_config_of, resume_experiment
from shoal.tune.execution.runner import TrialRunner
from shoal.tune.execution.tune_controller import TuneController
from shoal.tune.experiment.experiment import Experiment, _convert_to_experiment_list
from shoal.tune.experiment.trial import Trial
from shoal.tune.former_arguments import with_former_arguments
from shoal.tune.mode import check_mode
from shoal.tune.progress_reporter import make_reporter
from shoal.tune.result import TRAINING_ITERATION
from shoal.tune.run_config import CheckpointConfig, FailureConfig, ResumeConfig, SyncConfig, check_num_samples
from shoal.tune.setup_run import cluster_resources, is_inline, prepare_callbacks, prepare_scheduler, prepare_search

logger = logging.getLogger(__name__)


def run(
    run_or_experiment: Any,
    *,
    name: str | None = None,
    metric: str | None = None,
    mode: str | None = None,
    stop: Any = None,
    time_budget_s: float | datetime.timedelta | None = None,
    config: dict[str, Any] | None = None,
    resources_per_trial: Any = None,
    num_samples: int = 1,
    storage_path: str | None = None,
    storage_filesystem: Any = None,
    search_alg: Any = None,
    scheduler: Any = None,
    checkpoint_config: CheckpointConfig | None = None,
    verbose: int | None = None,
    progress_reporter: Any = None,
    log_to_file: bool | str | tuple[str, str] = False,
    trial_name_creator: Callable[[Any], str] | None = None,
    trial_dirname_creator: Callable[[Any], str] | None = None,
    sync_config: SyncConfig | None = None,
    export_formats: list[str] | None = None,
    max_failures: int = 0,
    fail_fast: bool | str = False,
    restore: str | None = None,
    resume: bool | str | None = None,
    resume_config: ResumeConfig | None = None,
    reuse_actors: bool | None = None,
    raise_on_failed_trial: bool = True,
    callbacks: Sequence[Any] | None = None,
    max_concurrent_trials: int | None = None,
    _worker_runtime_env: dict[str, Any] | None = None,
    **former: Any,
) -> ExperimentAnalysis:
    """Runs all trials of ``run_or_experiment`` (a function of the config, a Trainable class, a registered name or an
    Experiment).

    ``metric`` and ``mode`` ("min" or "max") are what ``best_config`` and the like use. ``resources_per_trial`` defaults
    to one CPU. ``resume``: True or "AUTO" go on with an experiment of that ``name``, "+ERRORED" and "+RESTART_ERRORED" (with
    "_ONLY") say what becomes of failed trials. ``verbose``: 0 silent, 1 a table, 2 and more also results.

    Raises TuneError when a trial has failed (unless ``raise_on_failed_trial`` is False; finished results stay in
    ``storage_path``), or when a result lacks ``metric``; ValueError for arguments that make no sense; DeprecationWarning for
    those that Ray has taken away (like ``local_dir``), with what to use.
    """
    checkpoint_config = with_former_arguments(checkpoint_config, former)
    check_mode(mode)
    FailureConfig(max_failures=max_failures, fail_fast=fail_fast)
    experiments = _experiments_of(
        run_or_experiment,
        name,
        stop=stop,
        time_budget_s=time_budget_s,
        config=config,
        resources_per_trial=resources_per_trial,
        num_samples=num_samples,
        storage_path=storage_path,
        storage_filesystem=storage_filesystem,
        checkpoint_config=checkpoint_config,
        log_to_file=log_to_file,
        trial_name_creator=trial_name_creator,
        trial_dirname_creator=trial_dirname_creator,
        sync_config=sync_config,
        export_formats=export_formats,
        max_failures=max_failures,
        restore=restore,
    )
    trials: list[Trial] = []
    for experiment in experiments:
        check_num_samples(experiment.spec["num_samples"])
        trials += _run_one(
            experiment,
            metric=metric,
            mode=mode,
            search_alg=search_alg,
            scheduler=scheduler,
            fail_fast=fail_fast,
            max_concurrent_trials=max_concurrent_trials,
            verbose=verbose,
            progress_reporter=progress_reporter,
            callbacks=callbacks,
            reuse_actors=reuse_actors,
            resume=resume_config or resume_config_of(resume, experiment),
            runtime_env=_worker_runtime_env,
        )
    failed = [trial for trial in trials if trial.status == Trial.ERROR]
    if failed and raise_on_failed_trial:
        first = failed[0]
        raise TuneError(
            f"{len(failed)} of {len(trials)} trials have failed: {failed[:10]}; the first with:\n{first.error_text}"
        ) from first.error
    return ExperimentAnalysis(
        experiments[0].path,
        storage_filesystem=experiments[0].storage.remote,
        trials=trials,
        default_metric=metric,
        default_mode=mode,
    )


def _experiments_of(run_or_experiment: Any, name: str | None, **arguments: Any) -> list[Experiment]:
    if isinstance(run_or_experiment, Experiment):
        return [run_or_experiment]
    if isinstance(run_or_experiment, list) and run_or_experiment and isinstance(run_or_experiment[0], Experiment):
        return run_or_experiment
    if isinstance(run_or_experiment, (list, tuple)):
        raise ValueError(f"run_or_experiment must be a trainable or Experiments, but got {run_or_experiment!r}")
    return [Experiment(name, run_or_experiment, **arguments)]


def _run_one(
    experiment: Experiment,
    *,
    metric: str | None,
    mode: str | None,
    search_alg: Any,
    scheduler: Any,
    fail_fast: bool | str,
    max_concurrent_trials: int | None,
    verbose: int | None,
    progress_reporter: Any,
    callbacks: Sequence[Any] | None,
    reuse_actors: bool | None,
    resume: ResumeConfig | None,
    runtime_env: dict[str, Any] | None,
    change_directory: bool | None = None,
) -> list[Trial]:
    """Runs one experiment to its end and returns its trials."""
    resources = cluster_resources()
    searcher, left = prepare_search(search_alg, max_concurrent_trials, metric, mode, experiment)
    experiment.spec["config"] = left
    chosen_scheduler = prepare_scheduler(scheduler, metric, mode)
    all_callbacks: CallbackList = prepare_callbacks(callbacks)
    experiment.storage.check_writable()
    if resume is None and log_files(experiment.local_path):
        _move_old_state(experiment)
    controller = TuneController(
        search_alg=searcher,
        scheduler=chosen_scheduler,
        stopper=experiment.stopper,
        resources=resources,
        metric=metric,
        fail_fast=fail_fast,
        **({"running_max": 1} if is_inline() else {}),  # trials that share a process share its folder and its output
    )
    if resume is not None:
        resume_experiment(controller, experiment, all_callbacks, resume)
    searcher.add_configurations(experiment)
    reporter = make_reporter(progress_reporter, verbose, experiment, metric, mode, searcher.total_samples)
    all_callbacks.setup(
        stop=experiment.stopping_criterion,
        num_samples=experiment.spec["num_samples"],
        total_num_samples=searcher.total_samples,
    )
    if change_directory is None:
        change_directory = os.environ.get("RAY_CHDIR_TO_TRIAL_DIR", "1") != "0"
    runner = TrialRunner(
        controller,
        experiment,
        all_callbacks,
        ExperimentLog(experiment.storage),
        reporter,
        reuse_actors=reuse_actors,
        change_directory=change_directory,
        runtime_env=runtime_env,
        sync_config=experiment.storage.sync_config,
    )
    runner.run()
    if controller.fatal_error is not None:
        raise controller.fatal_error
    _warn_if_silent(controller.get_trials(), metric)
    return controller.get_trials()


def _warn_if_silent(trials: list[Trial], metric: str | None) -> None:
    """Says so when all trials of a run with a metric have ended well without a single result. As in Ray that is no error of the
    run; asking for the best trial is one."""
    if (
        metric
        and trials
        and all(trial.status == Trial.TERMINATED and TRAINING_ITERATION not in trial.last_result for trial in trials)
    ):
        logger.warning(
            "the run needs the metric %r, but none of its %d trials has reported anything: a trainable must call "
            "tune.report({...}), or return or yield a dictionary or a number",
            metric,
            len(trials),
        )


def _move_old_state(experiment: Experiment) -> None:
    """An experiment of that name is there and is not resumed: its log makes room, its trials' files stay."""
    for file in log_files(experiment.local_path):
        os.replace(file, os.path.join(os.path.dirname(file), "old-" + os.path.basename(file)))
    logger.info("%s holds an earlier experiment, which is not resumed", experiment.path)


def run_experiments(
    experiments: Any,
    scheduler: Any = None,
    verbose: int | None = None,
    progress_reporter: Any = None,
    resume: bool | str | None = None,
    resume_config: ResumeConfig | None = None,
    reuse_actors: bool | None = None,
    raise_on_failed_trial: bool = True,
    callbacks: Sequence[Any] | None = None,
    fail_fast: bool | str = False,
) -> list[Trial]:
    """Runs several experiments (see ``Experiment``; dictionaries of its arguments by name are fine), one after the other.

    Errors as in ``run``.
    """
    trials: list[Trial] = []
    for experiment in _convert_to_experiment_list(experiments):
        analysis = run(
            experiment,
            scheduler=scheduler,
            verbose=verbose,
            progress_reporter=progress_reporter,
            resume=resume,
            resume_config=resume_config,
            reuse_actors=reuse_actors,
            raise_on_failed_trial=raise_on_failed_trial,
            callbacks=callbacks,
            fail_fast=fail_fast,
        )
        trials.extend(analysis.trials or [])
    return trials
