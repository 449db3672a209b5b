"""Going on with an experiment that was stopped or killed."""

from __future__ import annotations

import uuid
from typing import Any

from shoal.tune.callback import CallbackList
from shoal.tune.execution.experiment_log import log_files, read_snapshot, read_trials
from shoal.tune.execution.tune_controller import TuneController
from shoal.tune.experiment.experiment import Experiment
from shoal.tune.experiment.trial import Trial
from shoal.tune.flatten import flatten_dict
from shoal.tune.run_config import ResumeConfig
from shoal.tune.search.basic_variant import BasicVariantGenerator

_FAILED = {
    "": "skip",
    "ERRORED": "resume",
    "RESTART_ERRORED": "restart",
    "ERRORED_ONLY": "resume",
    "RESTART_ERRORED_ONLY": "restart",
}


def resume_config_of(resume: bool | str | None, experiment: Experiment) -> ResumeConfig | None:
    """What ``tune.run(resume=...)`` means; None for a fresh start. Raises ValueError for other values."""
    if not resume:
        return None
    text = "LOCAL" if resume is True else str(resume).upper()
    place, _, failed = text.partition("+")
    if place in _FAILED and place:
        place, failed = "LOCAL", place
    if place not in ("LOCAL", "AUTO", "REMOTE", "PROMPT") or failed not in _FAILED:
        raise ValueError(
            f"resume must be True, False, 'AUTO' or 'LOCAL', with '+ERRORED', '+ERRORED_ONLY', '+RESTART_ERRORED' or "
            f"'+RESTART_ERRORED_ONLY', but got resume={resume!r}"
        )
    if place == "AUTO":
        if experiment.storage.remote is not None and experiment.storage.remote.exists(experiment.path):
            experiment.storage.fetch_experiment()
        if not log_files(experiment.local_path):
            return None
    unfinished = "skip" if failed.endswith("_ONLY") else "resume"
    return ResumeConfig(finished="skip", unfinished=unfinished, errored=_FAILED[failed])


def resume_experiment(
    controller: TuneController, experiment: Experiment, callbacks: CallbackList, resume: ResumeConfig
) -> None:
    """Fills ``controller`` with the trials of the log. Finished trials are not run again unless ``resume`` says so."""
    experiment.storage.fetch_experiment()
    trials = read_trials(experiment)
    snapshot = read_snapshot(experiment.local_path, trials)
    ended_before = {trial.trial_id for trial in trials if trial.is_finished()}
    actions = {trial: _action(trial, resume) for trial in trials}
    for trial, action in actions.items():
        _prepare(trial, action)
        if action == "resume":
            experiment.renew_resources(trial)
    _restore_searcher(controller, experiment, trials, snapshot, ended_before)
    if snapshot is not None:
        controller.scheduler.set_state(snapshot["scheduler"])
        if snapshot["callbacks"]:
            callbacks.set_state(snapshot["callbacks"])
    for trial, action in actions.items():
        if action == "restart" and trial.trial_id not in ended_before:
            controller.search_alg.on_trial_complete(trial.trial_id, error=True)  # nobody waits for it any more
        controller.add_trial(trial if action != "restart" else _again(experiment, trial), instead_of=trial)


def _action(trial: Trial, resume: ResumeConfig) -> str:
    if trial.status == Trial.TERMINATED:
        return resume.finished
    return resume.errored if trial.status == Trial.ERROR else resume.unfinished


def _prepare(trial: Trial, action: str) -> None:
    """The status from which ``trial`` goes on."""
    if action == "resume":
        trial.status = Trial.PENDING
        trial.error, trial.error_text, trial.num_failures = None, None, 0
        trial.last_result.pop("done", None)
    elif not trial.is_finished():
        trial.status = Trial.TERMINATED  # skipped, or replaced by a new trial


def _again(experiment: Experiment, trial: Trial) -> Trial:
    """A new trial of the same configuration, with an id and a folder of its own."""
    new = experiment.make_trial(trial.config, trial.evaluated_params, uuid.uuid4().hex[:8], trial.experiment_tag)
    new.placement_group_factory = trial.placement_group_factory
    return new


def _restore_searcher(
    controller: TuneController,
    experiment: Experiment,
    trials: list[Trial],
    snapshot: dict[str, Any] | None,
    ended_before: set[str],
) -> None:
    search_alg = controller.search_alg
    if isinstance(search_alg, BasicVariantGenerator):
        prefix = trials[0].trial_id.rsplit("_", 1)[0] if trials else search_alg.get_state()["prefix"]
        search_alg.set_state({"prefix": prefix, "made": len(trials), "live": []})
        return
    state = dict(snapshot["search_alg"]) if snapshot is not None else None
    if state is not None:
        state["made"] = len(trials)
        search_alg.set_state(state)
    elif hasattr(search_alg, "_made"):
        search_alg._made = len(trials)
    known = set(snapshot["finished"]) if snapshot is not None else set()
    for trial in trials:
        if trial.trial_id in ended_before - known:
            failed = trial.status == Trial.ERROR
            search_alg.on_trial_complete(trial.trial_id, result=flatten_dict(trial.last_result) or None, error=failed)
