"""Population based training (Jaderberg et al., 2017)."""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shoal.tune.experiment.trial import Trial
from shoal.tune.flatten import copy_containers
from shoal.tune.mode import check_mode
from shoal.tune.schedulers.trial_scheduler import CONTINUE, NOOP, PAUSE, STOP, FIFOScheduler
from shoal.tune.search.sample import Domain

logger = logging.getLogger(__name__)


@dataclass
class _State:
    """What is known of one member of the population."""

    score: float | None = None
    time: float = 0.0
    last_perturbation: float = 0.0
    tag: str = ""


class PopulationBasedTraining(FIFOScheduler):
    """At every ``perturbation_interval`` the worst ``quantile_fraction`` of trials go on from the checkpoint of one of the
    best, with its configuration perturbed.

    ``hyperparam_mutations``: for each hyperparameter a domain, a list of values, or a function that returns a value. With
    probability ``resample_probability`` a value is drawn anew; else a list moves to a neighbour, and everything else is
    multiplied by one of ``perturbation_factors``. ``custom_explore_fn(config)`` may change the result. ``synch``: all trials
    wait for each other at the interval. ``burn_in_period``: no perturbation before that time. Works with grid and random
    search only.
    """

    def __init__(
        self,
        time_attr: str = "time_total_s",
        metric: str | None = None,
        mode: str | None = None,
        perturbation_interval: float = 60.0,
        burn_in_period: float = 0.0,
        hyperparam_mutations: dict[str, Any] | None = None,
        quantile_fraction: float = 0.25,
        resample_probability: float = 0.25,
        perturbation_factors: tuple[float, float] = (1.2, 0.8),
        custom_explore_fn: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        log_config: bool = True,
        require_attrs: bool = True,
        synch: bool = False,
    ) -> None:
        mutations = hyperparam_mutations or {}
        if not mutations and custom_explore_fn is None:
            raise ValueError("PopulationBasedTraining needs hyperparam_mutations or a custom_explore_fn, but got neither")
        for name, value in _leaves(mutations):
            if not (isinstance(value, (Domain, list, tuple)) or callable(value)):
                raise TypeError(
                    f"hyperparam_mutations must hold lists, domains, functions or dictionaries, but got {name}={value!r}"
                )
        if not 0 <= quantile_fraction <= 0.5:
            raise ValueError(f"quantile_fraction must be between 0 and 0.5, but got quantile_fraction={quantile_fraction}")
        if perturbation_interval <= 0:
            raise ValueError(f"perturbation_interval must be > 0, but got perturbation_interval={perturbation_interval}")
        if not 0 <= resample_probability <= 1:
            raise ValueError(
                f"resample_probability must be between 0 and 1, but got resample_probability={resample_probability}"
            )
        self._metric, self._mode = metric, check_mode(mode)
        self._time_attr: str = time_attr
        self._interval = perturbation_interval
        self._burn_in = burn_in_period
        self._mutations = mutations
        self._quantile = quantile_fraction
        self._resample = resample_probability
        self._factors = perturbation_factors
        self._explore_function = custom_explore_fn
        self._log_config = log_config
        self._require_attrs = require_attrs
        self._synch = synch
        self._next_sync = max(perturbation_interval, burn_in_period)
        self._states: dict[str, _State] = {}
        self._num_perturbations = 0

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        if getattr(tune_controller.search_alg, "searcher", None) is not None:
            raise ValueError(
                "PopulationBasedTraining changes configurations itself and works with grid and random search only, "
                f"but got search_alg={type(tune_controller.search_alg.searcher).__name__}"
            )
        self._require_metric()
        self._states[trial.trial_id] = _State(tag=trial.experiment_tag)
        self._fill_in(trial.config, self._mutations)

    def _fill_in(self, config: dict[str, Any], mutations: dict[str, Any]) -> None:
        """Hyperparameters that the space does not have start with a value of their mutation."""
        for name, mutation in mutations.items():
            if isinstance(mutation, dict):
                self._fill_in(config.setdefault(name, {}), mutation)
            elif name not in config:
                config[name] = _draw(mutation)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        for name in (self._time_attr, self._metric):
            if name not in result:
                if self._require_attrs:
                    raise RuntimeError(
                        f"{type(self).__name__} needs {name!r} in each result, but got a result with {sorted(result)}; "
                        "report it, or pass require_attrs=False"
                    )
                return CONTINUE
        time = result[self._time_attr]
        state = self._states[trial.trial_id]
        if time < self._burn_in:
            return CONTINUE
        if time - state.last_perturbation < self._interval and not self._synch:
            return CONTINUE
        if self._synch and time < self._next_sync:
            return CONTINUE
        state.score, state.time = self._score(result), time
        if self._synch:
            return self._on_synchronous_result(tune_controller, trial)
        state.last_perturbation = time
        return self._perturb(tune_controller, trial)

    def _perturb(self, tune_controller: Any, trial: Any) -> str:
        lower, upper = self._quantiles(tune_controller)
        if trial in upper and not trial.is_function:
            tune_controller.save_trial(trial)
        if trial in lower and self._exploit(tune_controller, trial, upper):
            return NOOP
        others = tune_controller.first_waiting_trial(other_than=trial)
        return PAUSE if others is not None else CONTINUE

    def _on_synchronous_result(self, tune_controller: Any, trial: Any) -> str:
        """Everybody is paused, and so has a checkpoint, before anybody is perturbed."""
        if any(other is not trial for other in tune_controller.get_live_trials()):
            return PAUSE
        self._next_sync += self._interval
        return CONTINUE

    def _perturb_together(self, tune_controller: Any) -> None:
        """When all have reached the interval and are paused: the next one begins, for the worst with a better one's state."""
        live = tune_controller.get_live_trials()
        if not live or any(trial.status != trial.PAUSED or self._time(trial) < self._next_sync for trial in live):
            return
        lower, upper = self._quantiles(tune_controller)
        self._next_sync += self._interval
        for trial in live:
            if trial.trial_id in self._states:
                self._states[trial.trial_id].last_perturbation = self._states[trial.trial_id].time
            if trial in lower:
                self._exploit(tune_controller, trial, upper)

    def _quantiles(self, tune_controller: Any) -> tuple[list[Any], list[Any]]:
        """The worst and the best trials, of those that have a score."""
        scored = [trial for trial in tune_controller.get_trials() if self._score_of(trial) is not None and not _failed(trial)]
        scored.sort(key=lambda trial: self._states[trial.trial_id].score or 0.0)
        if len(scored) <= 1:
            return [], []
        count = min(math.ceil(len(scored) * self._quantile), len(scored) // 2)
        return (scored[:count], scored[-count:]) if count else ([], [])

    def _score_of(self, trial: Any) -> float | None:
        state = self._states.get(trial.trial_id)
        return None if state is None else state.score

    def _exploit(self, tune_controller: Any, trial: Any, upper: list[Any]) -> bool:
        """Gives ``trial`` the checkpoint and a changed configuration of one of ``upper``; False when none has a checkpoint."""
        donors = [other for other in upper if other.has_checkpoint() and other is not trial]
        if not donors:
            logger.debug("no checkpoint to exploit for %s", trial)
            return False
        donor = random.choice(donors)
        config, operations = self._get_new_config(trial, donor)
        if self._log_config:
            self._write_policy(trial, donor, config)
        tag = f"{self._states[trial.trial_id].tag}@perturbed[{','.join(f'{k}={v}' for k, v in _flat_items(operations))}]"
        tune_controller.clone_trial(trial, donor, config, tag)
        state = self._states[trial.trial_id]
        state.score = self._states[donor.trial_id].score
        state.last_perturbation = self._states[donor.trial_id].time
        state.time = self._states[donor.trial_id].time
        self._num_perturbations += 1
        return True

    def _get_new_config(self, trial: Any, trial_to_clone: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        config, operations = explore(copy_containers(trial_to_clone.config), self._mutations, self._resample, self._factors)
        if self._explore_function is not None:
            config = self._explore_function(config)
            if not isinstance(config, dict):
                raise ValueError(f"custom_explore_fn must return the new config as a dictionary, but got {config!r}")
        return config, operations

    def _write_policy(self, trial: Any, donor: Any, config: dict[str, Any]) -> None:
        """One line in ``pbt_global.txt``, and in the ``pbt_policy_*.txt`` of the trial, which a replay reads."""
        folder = trial.local_experiment_path
        states = self._states
        line = [
            states[trial.trial_id].tag,
            states[donor.trial_id].tag,
            trial.last_result.get(self._time_attr, 0),
            donor.last_result.get(self._time_attr, 0),
            donor.config,
            config,
        ]
        text = json.dumps(line, default=str) + "\n"
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "pbt_global.txt"), "a", encoding="utf-8") as file:
            file.write(text)
        policy = os.path.join(folder, f"pbt_policy_{trial.trial_id}.txt")
        donors_policy = os.path.join(folder, f"pbt_policy_{donor.trial_id}.txt")
        history = ""
        if os.path.exists(donors_policy):
            with open(donors_policy, encoding="utf-8") as file:
                history = file.read()
        with open(policy, "w", encoding="utf-8") as file:
            file.write(history + text)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        state = self._states.get(trial.trial_id)
        if state is not None and self._metric in result:
            state.score = self._score(result)
            state.time = max(state.time, result.get(self._time_attr, state.time))

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._states.pop(trial.trial_id, None)

    on_trial_remove = on_trial_error

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The waiting trial that has run least; in synchronous mode nobody who has reached the interval."""
        if self._synch:
            self._perturb_together(tune_controller)
        waiting = [
            trial
            for trial in tune_controller.waiting_trials()
            if tune_controller.has_resources_for_trial(trial) and (not self._synch or self._time(trial) < self._next_sync)
        ]
        return min(waiting, key=self._time, default=None)

    def _time(self, trial: Any) -> float:
        state = self._states.get(trial.trial_id)
        return state.time if state is not None else 0.0

    def debug_string(self) -> str:
        return f"PopulationBasedTraining: {self._num_perturbations} perturbs"

    def may_act(self) -> bool:
        return True


class PopulationBasedTrainingReplay(FIFOScheduler):
    """Repeats the configurations that one trial of a PBT run went through, from its ``pbt_policy_*.txt``. Takes one trial."""

    def __init__(self, policy_file: str) -> None:
        if not os.path.exists(policy_file):
            raise ValueError(f"policy_file must exist, but got policy_file={policy_file!r}")
        self.policy_file = policy_file
        with open(policy_file, encoding="utf-8") as file:
            lines = [json.loads(line) for line in file if line.strip()]
        if not lines:
            raise ValueError(f"policy_file must hold at least one perturbation, but got policy_file={policy_file!r}")
        lineage = _lineage(lines)
        self.config: dict[str, Any] = lineage[0][4]
        self._policy = [(line[3], line[5]) for line in lineage]
        self._trial: Any = None
        self._num_perturbations = 0

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        if self._trial is not None:
            raise ValueError("PopulationBasedTrainingReplay replays one trial, but got more; use num_samples=1 and no grid")
        self._trial = trial
        trial.set_config({**copy_containers(trial.config), **self.config})

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if not self._policy or result.get("training_iteration", 0) < self._policy[0][0]:
            return CONTINUE
        if trial.is_function and not trial.has_checkpoint():
            return CONTINUE
        _, config = self._policy.pop(0)
        self._num_perturbations += 1
        tag = f"{trial.experiment_tag.split('@')[0]}@perturbed[{self._num_perturbations}]"
        tune_controller.change_config(trial, {**copy_containers(trial.config), **config}, tag)
        return NOOP

    def debug_string(self) -> str:
        return f"PopulationBasedTraining replay: Step {self._num_perturbations}, perturb {self._num_perturbations}"

    def may_act(self) -> bool:
        return True


def _lineage(lines: list[list[Any]]) -> list[list[Any]]:
    """The perturbations that led to the last state, of all in a policy file: each one's trial is the donor of the next."""
    found = [lines[-1]]
    for line in reversed(lines[:-1]):
        if line[0] != found[0][1]:
            break
        found.insert(0, line)
    return found


def explore(
    config: dict[str, Any], mutations: dict[str, Any], resample_probability: float, factors: tuple[float, float]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """``config`` with each of ``mutations`` applied, and what was done to each."""
    operations: dict[str, Any] = {}
    for name, mutation in mutations.items():
        if isinstance(mutation, dict):
            config[name], operations[name] = explore(config.get(name, {}), mutation, resample_probability, factors)
        elif isinstance(mutation, (list, tuple)):
            config[name], operations[name] = _explore_list(config[name], list(mutation), resample_probability)
        elif random.random() < resample_probability:
            config[name], operations[name] = _draw(mutation), "resample"
        elif isinstance(config[name], (int, float)) and not isinstance(config[name], bool):
            factor = random.choice(list(factors))
            changed = config[name] * factor
            config[name] = round(changed) if isinstance(config[name], int) else changed
            operations[name] = f"* {factor}"
        else:
            config[name], operations[name] = _draw(mutation), "resample"
    return config, operations


def _explore_list(value: Any, values: list[Any], resample_probability: float) -> tuple[Any, str]:
    if random.random() < resample_probability or value not in values:
        return random.choice(values), "resample"
    shift = random.choice([-1, 1])
    index = min(max(values.index(value) + shift, 0), len(values) - 1)
    return values[index], f"shift {'left' if shift < 0 else 'right'}{'' if values[index] != value else ' (noop)'}"


def _draw(mutation: Any) -> Any:
    if isinstance(mutation, Domain):
        return mutation.sample(None)
    if isinstance(mutation, (list, tuple)):
        return copy.copy(random.choice(list(mutation)))
    return mutation()


def _leaves(mutations: dict[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in mutations.items():
        found.extend(_leaves(value) if isinstance(value, dict) else [(name, value)])
    return found


def _flat_items(operations: dict[str, Any]) -> list[tuple[str, Any]]:
    return _leaves(operations)


def _failed(trial: Any) -> bool:
    return bool(trial.status == Trial.ERROR)


__all__ = ["CONTINUE", "NOOP", "PAUSE", "STOP", "PopulationBasedTraining", "PopulationBasedTrainingReplay", "explore"]
