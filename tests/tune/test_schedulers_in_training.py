"""Schedulers over real processes: what is paused, cloned and perturbed goes on from the state that it had.

The "training" adds its rate to a total in each step, and the total lies in checkpoints only: a trial that lost its checkpoint
would show it in its sum.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shoal import tune
from shoal.tune.schedulers import (
    PB2,
    HyperBandForBOHB,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    PopulationBasedTrainingReplay,
    ResourceChangingScheduler,
)

pytestmark = pytest.mark.usefixtures("cluster")


class Sum(tune.Trainable):
    """The total after n steps with one rate is n times that rate."""

    def setup(self, config: dict[str, Any]) -> None:
        self.total = 0.0

    def step(self) -> dict[str, Any]:
        self.total += self.config["rate"]
        return {"total": self.total, "rate": self.config["rate"], "cpus": self.trial_resources.head_cpus}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "total").write_text(str(self.total))

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        self.total = float(Path(checkpoint_dir, "total").read_text())


def sums(config: dict[str, Any]) -> None:
    """The same as a function, with a checkpoint in each step."""
    total, checkpoint = 0.0, tune.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            total = float(Path(folder, "total").read_text())
    while True:
        total += config["rate"]
        Path("state").mkdir(exist_ok=True)
        Path("state", "total").write_text(str(total))
        tune.report({"total": total, "rate": config["rate"]}, checkpoint=tune.Checkpoint.from_directory("state"))


def run(trainable: Any, scheduler: Any, rates: list[float], steps: int, tmp_path: Path, **more: Any) -> Any:
    return tune.run(
        trainable,
        name="run",
        config={"rate": tune.grid_search(rates)},
        scheduler=scheduler,
        metric="total",
        mode="max",
        stop={"training_iteration": steps},
        storage_path=str(tmp_path),
        verbose=0,
        **more,
    )


def results(trial: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(trial.local_path, "result.json").read_text().splitlines()]


@pytest.mark.parametrize("trainable", [Sum, sums])
@pytest.mark.parametrize("scheduler", [HyperBandScheduler, HyperBandForBOHB])
def test_paused_trials_go_on_where_they_were(trainable: Any, scheduler: Any, tmp_path: Path) -> None:
    made = scheduler(max_t=4, reduction_factor=2)
    analysis = run(trainable, made, [1.0, 2.0, 3.0, 4.0], 4, tmp_path)
    lengths = {}
    for trial in analysis.trials:
        seen = results(trial)
        lengths[trial.config["rate"]] = len(seen)
        # No step is lost or done twice, although two processes served four trials in turn.
        assert [result["total"] for result in seen] == [trial.config["rate"] * (n + 1) for n in range(len(seen))]
    assert lengths[4.0] == 4 and sorted(lengths.values()) == [1, 1, 3, 4]  # milestones at 1, 1 + 2, and the end


@pytest.mark.parametrize("trainable", [Sum, sums])
def test_a_clone_goes_on_from_the_total_of_its_donor_with_a_rate_of_its_own(trainable: Any, tmp_path: Path) -> None:
    scheduler = PopulationBasedTraining(
        "training_iteration",
        perturbation_interval=2,
        hyperparam_mutations={"rate": [1.0, 10.0]},
        custom_explore_fn=lambda config: {**config, "rate": 4.0},
        synch=True,
    )
    analysis = run(trainable, scheduler, [10.0, 1.0], 6, tmp_path)
    worse = min(analysis.trials, key=lambda trial: results(trial)[0]["total"])
    seen = results(worse)
    assert [result["total"] for result in seen[:2]] == [1, 2]
    # The donor's total after two steps, and two steps more with the new rate; once more at the next interval.
    assert [result["total"] for result in seen[2:]] == [24, 28, 44, 48]
    assert "@perturbed" in worse.experiment_tag

    (policy_file,) = Path(analysis.experiment_path).glob("pbt_policy_*.txt")
    *_, last = [json.loads(line) for line in policy_file.read_text().splitlines()]
    assert last[2:4] == [4, 4] and last[4] == {"rate": 10.0}
    replayed = tune.run(
        trainable,
        scheduler=PopulationBasedTrainingReplay(str(policy_file)),
        stop={"training_iteration": 6},
        storage_path=str(tmp_path),
        verbose=0,
    )
    (trial,) = replayed.trials
    rates = [10.0] * 4 + [4.0] * 2
    assert [result["rate"] for result in results(trial)] == rates
    assert [result["total"] for result in results(trial)] == [sum(rates[: n + 1]) for n in range(6)]


def test_pb2_clones_within_its_bounds(tmp_path: Path) -> None:
    scheduler = PB2("training_iteration", perturbation_interval=2, hyperparam_bounds={"rate": [0.5, 5.0]}, synch=True)
    analysis = run(Sum, scheduler, [5.0, 0.5], 6, tmp_path)
    worse = results(min(analysis.trials, key=lambda trial: results(trial)[0]["total"]))
    assert all(0.5 <= result["rate"] <= 5.0 for result in worse)
    assert worse[2]["total"] == pytest.approx(10 + worse[2]["rate"])


def test_the_median_rule_pauses_softly_and_lets_all_end(tmp_path: Path) -> None:
    soft = MedianStoppingRule("training_iteration", grace_period=1, min_samples_required=2, min_time_slice=1, hard_stop=False)
    analysis = run(Sum, soft, [1.0, 4.0, 4.0], 4, tmp_path, max_concurrent_trials=3)
    for trial in analysis.trials:
        assert [result["total"] for result in results(trial)] == [trial.config["rate"] * (n + 1) for n in range(4)]


def test_a_trial_with_more_cpus_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    analysis = run(Sum, ResourceChangingScheduler(), [1.0], 4, tmp_path)
    seen = results(analysis.trials[0])
    assert [result["total"] for result in seen] == [1, 2, 3, 4]
    assert seen[0]["cpus"] == 1 and seen[-1]["cpus"] == 2
