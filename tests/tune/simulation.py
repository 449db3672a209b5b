"""Trials without processes: plays the shell to a controller."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from shoal.tune.checkpoint import Checkpoint
from shoal.tune.execution.events import Continue, Instruction, Release, Save, Start, TrialEnded, TrialReported, TrialSaved
from shoal.tune.execution.tune_controller import TuneController
from shoal.tune.experiment import Trial

Score = Callable[[dict[str, Any], int], float]


def play(
    controller: TuneController, score: Score, iterations: int, checkpoints: bool = True, validate: bool = True
) -> dict[str, int]:
    """Runs all trials of ``controller``, each for at most ``iterations`` results with ``score(config, iteration)``.

    The running trials report in turn. Returns how many results each trial has reported in all. ``validate``: after each result
    the books of the controller are compared, which looks at all trials.
    """
    running: dict[str, int] = {}
    reported: dict[str, int] = {}
    saves: list[Save] = []

    def do(instructions: list[Instruction]) -> None:
        for instruction in instructions:
            if isinstance(instruction, Start):
                running[instruction.trial.trial_id] = int((instruction.counters or {}).get("training_iteration") or 0)
            elif isinstance(instruction, Release):
                running.pop(instruction.trial.trial_id, None)
            elif isinstance(instruction, Save):
                saves.append(instruction)
            else:
                assert not isinstance(instruction, Continue) or instruction.trial.status == Trial.RUNNING

    do(controller.fill())
    while not controller.is_finished():
        assert running, "nothing runs although the run is not finished"
        for trial_id in list(running):
            if trial_id not in running:
                continue
            trial = controller.get_trial(trial_id)
            assert trial is not None
            if running[trial_id] >= iterations:
                do(controller.handle(TrialEnded(trial_id)))
                do(controller.fill())
                continue
            running[trial_id] += 1
            reported[trial_id] = reported.get(trial_id, 0) + 1
            result = {"training_iteration": running[trial_id], "score": score(trial.config, running[trial_id])}
            saved = Checkpoint(os.path.join(trial.local_path, trial.next_checkpoint_name())) if checkpoints else None
            do(controller.handle(TrialReported(trial_id, result, saved)))
            while saves:
                save = saves.pop()
                do(
                    controller.handle(
                        TrialSaved(save.trial.trial_id, Checkpoint(os.path.join(save.trial.local_path, save.name)))
                    )
                )
            do(controller.fill())
            if validate:
                controller.validate_state()
    return reported
