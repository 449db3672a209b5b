"""Whether schedulers and searchers are worth it: averages over seeds, on real and on known objectives, with pictures.

``python benchmarks/tune_learning.py [--seeds N] [--plots FOLDER]``. ASHA trains networks on scikit-learn's digits; PBT tunes a
learning rate that must change while it learns; TPE searches Branin and a mixed conditional space.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import tempfile
import warnings
from typing import Any

import numpy as np
import optuna
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import shoal
from shoal import tune
from shoal.tune.schedulers import ASHAScheduler, FIFOScheduler, PopulationBasedTraining
from shoal.tune.search import BasicVariantGenerator
from shoal.tune.search.optuna import OptunaSearch

EPOCHS = 27
TRIALS = 27


def digits_network(config: dict, data: Any) -> None:
    warnings.simplefilter("ignore")
    x_train, x_test, y_train, y_test = data
    network = MLPClassifier((config["width"],), learning_rate_init=config["rate"], alpha=config["alpha"], random_state=0)
    for _ in range(EPOCHS):
        network.partial_fit(x_train, y_train, classes=range(10))
        tune.report({"accuracy": network.score(x_test, y_test)})


def asha(seeds: int) -> dict[str, float]:
    """Best accuracy and epochs of ASHA and of random search, for the same configurations."""
    x, y = load_digits(return_X_y=True)
    trainable = tune.with_parameters(digits_network, data=train_test_split(x / 16, y, random_state=0))
    space = {"rate": tune.loguniform(1e-5, 1e-1), "width": tune.choice([4, 16, 64]), "alpha": tune.loguniform(1e-6, 1)}
    found: dict[str, list[tuple[float, int]]] = {"asha": [], "random": []}
    for seed in range(seeds):
        for name in found:
            scheduler = ASHAScheduler(max_t=EPOCHS, reduction_factor=3) if name == "asha" else FIFOScheduler()
            with tempfile.TemporaryDirectory() as folder:
                trials = tune.run(
                    trainable,
                    config=space,
                    search_alg=BasicVariantGenerator(random_state=seed),
                    scheduler=scheduler,
                    num_samples=TRIALS,
                    metric="accuracy",
                    mode="max",
                    storage_path=folder,
                    verbose=0,
                ).trials
            best = max(trial.metric_analysis["accuracy"]["max"] for trial in trials)
            found[name].append((best, sum(trial.last_result["training_iteration"] for trial in trials)))
    return {
        "ASHA: best accuracy": statistics.mean(best for best, _ in found["asha"]),
        "random: best accuracy": statistics.mean(best for best, _ in found["random"]),
        "ASHA: share of the epochs": sum(e for _, e in found["asha"]) / sum(e for _, e in found["random"]),
    }


class Walker(tune.Trainable):
    """Descends a quadratic whose best learning rate shrinks as it gets near: no constant rate is good throughout."""

    def setup(self, config: dict) -> None:
        self.random = np.random.default_rng(config["seed"])
        self.position = 10.0

    def step(self) -> dict:
        for _ in range(5):
            self.position -= self.config["rate"] * (self.position + self.random.normal())
        return {"loss": self.position**2}

    def save_checkpoint(self, checkpoint_dir: str) -> dict:
        return {"position": self.position}

    def load_checkpoint(self, checkpoint: dict) -> None:
        self.position = checkpoint["position"]


def pbt(seeds: int) -> dict[str, float]:
    """Mean logarithm of the population's mean loss, with and without exploits."""
    found: dict[str, list[float]] = {"with": [], "without": []}
    for seed in range(seeds):
        for name, interval in (("with", 2), ("without", 10**6)):
            random.seed(seed)
            scheduler = PopulationBasedTraining(
                "training_iteration",
                perturbation_interval=interval,
                hyperparam_mutations={"rate": tune.loguniform(1e-4, 1)},
                synch=name == "with",
            )
            with tempfile.TemporaryDirectory() as folder:
                trials = tune.run(
                    Walker,
                    config={"rate": tune.loguniform(1e-4, 1), "seed": tune.randint(0, 10**6)},
                    search_alg=BasicVariantGenerator(random_state=seed),
                    scheduler=scheduler,
                    num_samples=4,
                    stop={"training_iteration": 12},
                    metric="loss",
                    mode="min",
                    storage_path=folder,
                    verbose=0,
                ).trials
            found[name].append(statistics.mean(math.log10(trial.last_result["loss"] + 1e-12) for trial in trials))
    return {f"PBT: log10 of the loss {name} exploits": statistics.mean(values) for name, values in found.items()}


def branin(config: dict) -> float:
    x, y = config["x"], config["y"]
    return (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def branin_space(trial: Any) -> None:
    trial.suggest_float("x", -5, 10)
    trial.suggest_float("y", 0, 15)


def mixed(config: dict) -> float:
    if config["kind"] == "near":
        return abs(math.log10(config["rate"]) + 3) + abs(config["depth"] - 6) / 6
    return 1 + config["share"]


def mixed_space(trial: Any) -> None:
    if trial.suggest_categorical("kind", ["near", "far", "away"]) == "near":
        trial.suggest_float("rate", 1e-6, 1, log=True)
        trial.suggest_int("depth", 1, 20)
    else:
        trial.suggest_float("share", 0, 1)


def tpe(seeds: int, suggestions: int = 60) -> tuple[dict[str, float], dict[str, Any]]:
    """Mean of the best loss for TPE and random sampling, and the mean curves for the pictures."""
    figures, curves = {}, {}
    for objective, space in ((branin, branin_space), (mixed, mixed_space)):
        for name, sampler_of in (("TPE", lambda seed: None), ("random", lambda seed: optuna.samplers.RandomSampler(seed=seed))):
            runs = []
            for seed in range(seeds):
                sampler = sampler_of(seed)
                search = OptunaSearch(
                    space, metric="loss", mode="min", sampler=sampler, seed=None if sampler is not None else seed
                )
                losses = []
                for number in range(suggestions):
                    losses.append(objective(search.suggest(str(number)) or {}))
                    search.on_trial_complete(str(number), {"loss": losses[-1]})
                runs.append(np.minimum.accumulate(losses))
            figures[f"{objective.__name__}: best of {name}"] = float(np.mean([run[-1] for run in runs]))
            curves[f"{objective.__name__}, {name}"] = np.mean(runs, axis=0)
    return figures, curves


def draw(curves: dict[str, Any], folder: str) -> None:
    import matplotlib.pyplot as plt

    os.makedirs(folder, exist_ok=True)
    for objective in ("branin", "mixed"):
        _, axes = plt.subplots()
        for name, curve in curves.items():
            if name.startswith(objective):
                axes.plot(curve, label=name)
        axes.set_xlabel("trial")
        axes.set_ylabel("best loss so far, mean over seeds")
        axes.legend()
        axes.figure.savefig(os.path.join(folder, f"tune_{objective}.png"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", choices=["asha", "pbt", "tpe"])
    parser.add_argument("--plots", help="folder for pictures; needs matplotlib")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    figures: dict[str, float] = {"seeds": options.seeds}
    if options.only in (None, "tpe"):
        found, curves = tpe(options.seeds)
        figures.update(found)
        if options.plots:
            draw(curves, options.plots)
    shoal.init(num_cpus=2)
    if options.only in (None, "pbt"):
        figures.update(pbt(options.seeds))
    if options.only in (None, "asha"):
        figures.update(asha(options.seeds))
    shoal.shutdown()
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
