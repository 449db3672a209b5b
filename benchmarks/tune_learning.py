"""Whether schedulers and searchers are worth it: averages over seeds, on real and on known objectives, with pictures.

``python benchmarks/tune_learning.py [--seeds N] [--only asha|pbt|tpe] [--plots FOLDER] [--json FILE]`` prints one table.

- ASHA against random search: networks on scikit-learn's digits. ASHA may use a third of the epochs, for as many trials as it
  can begin with them; its first are those of random search.
- PBT against its own population without exploits: a learning rate that must shrink while it learns.
- TPE against random sampling: Branin, and two spaces with a choice that decides which other parameters there are. In the first
  all choices are equally good on average; in the second, the trap, that which holds the optimum is the worst on average.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import tempfile
import time
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: a trial is one thread

import numpy as np
import optuna
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

import shoal
from shoal import tune
from shoal.tune.schedulers import ASHAScheduler, FIFOScheduler, PopulationBasedTraining
from shoal.tune.search import BasicVariantGenerator
from shoal.tune.search.optuna import OptunaSearch

EPOCHS = 27
TRIALS = 27
POPULATION, GENERATIONS = 4, 12
SUGGESTIONS = 100

Figures = dict[str, str]
Curves = dict[str, np.ndarray]  # a row for each seed


class Reports(tune.Callback):
    """Remembers what was reported, in the order of arrival."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.values: list[float] = []
        self.by_iteration: dict[int, list[float]] = defaultdict(list)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        self.values.append(result[self.metric])
        self.by_iteration[result["training_iteration"]].append(result[self.metric])


class Budget(tune.Stopper):
    """Ends the search after ``limit`` reports of all trials together."""

    def __init__(self, limit: int) -> None:
        self.left = limit

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self.left -= 1
        return False

    def stop_all(self) -> bool:
        return self.left <= 0


def searched(trainable: Any, seed: int, metric: str, mode: str, **arguments: Any) -> Reports:
    """The reports of one search whose random choices follow from ``seed``."""
    random.seed(seed)
    np.random.seed(seed)
    reports = Reports(metric)
    with tempfile.TemporaryDirectory() as folder:
        tune.run(
            trainable,
            search_alg=BasicVariantGenerator(random_state=seed),
            metric=metric,
            mode=mode,
            storage_path=folder,
            callbacks=[reports],
            verbose=0,
            **arguments,
        )
    return reports


def with_error(values: Any) -> str:
    """Mean and standard error."""
    values = np.asarray(values, dtype=float)
    return f"{values.mean():.4g} ± {values.std(ddof=1) / math.sqrt(len(values)):.2g}"


# -- ASHA
def digits_network(config: dict[str, Any], data: Any) -> None:
    warnings.simplefilter("ignore")
    x_train, x_test, y_train, y_test = data
    network = MLPClassifier(
        (config["width"],), learning_rate_init=config["rate"], alpha=config["alpha"], batch_size=32, random_state=0
    )
    for _ in range(EPOCHS):
        network.partial_fit(x_train, y_train, classes=range(10))
        tune.report({"accuracy": network.score(x_test, y_test)})


def asha(seeds: int) -> tuple[Figures, Curves]:
    x, y = load_digits(return_X_y=True)
    trainable = tune.with_parameters(digits_network, data=(x[:500] / 16, x[500:1000] / 16, y[:500], y[500:1000]))
    space = {"rate": tune.loguniform(1e-5, 1e-1), "width": tune.choice([4, 16, 64]), "alpha": tune.loguniform(1e-6, 1)}
    bests: dict[str, list[np.ndarray]] = {"ASHA": [], "random search": []}
    for seed in range(seeds):
        for name in bests:
            limited: dict[str, Any] = {"num_samples": TRIALS, "scheduler": FIFOScheduler()}
            if name == "ASHA":
                scheduler = ASHAScheduler(max_t=EPOCHS, reduction_factor=3)
                limited = {"num_samples": -1, "scheduler": scheduler, "stop": Budget(TRIALS * EPOCHS // 3)}
            reports = searched(trainable, seed, "accuracy", "max", config=space, **limited)
            bests[name].append(np.maximum.accumulate(reports.values))
    pairs = list(zip(bests["ASHA"], bests["random search"], strict=True))
    reached = [int(np.argmax(ours >= theirs[-1])) + 1 if ours[-1] >= theirs[-1] else math.inf for ours, theirs in pairs]
    figures = {
        "ASHA: best accuracy": with_error([ours[-1] for ours, _ in pairs]),
        "random search: best accuracy": with_error([theirs[-1] for _, theirs in pairs]),
        "ASHA - random search, same seed": with_error([ours[-1] - theirs[-1] for ours, theirs in pairs]),
        "ASHA: epochs used / random search's": with_error([len(ours) / len(theirs) for ours, theirs in pairs]),
        "ASHA: seeds that reach random search's best": f"{sum(map(math.isfinite, reached))} of {seeds}",
        "ASHA: epochs until then / random search's": with_error(
            [count / len(theirs) for count, (_, theirs) in zip(reached, pairs, strict=True) if math.isfinite(count)]
            or [math.nan] * 2
        ),
    }
    longest = max(len(curve) for curves in bests.values() for curve in curves)
    padded = {
        name: np.array([np.pad(curve, (0, longest - len(curve)), mode="edge") for curve in curves])
        for name, curves in bests.items()
    }
    return figures, padded


# -- PBT
class Walker(tune.Trainable):
    """Descends a quadratic whose best learning rate shrinks as it gets near: no constant rate is good throughout."""

    def setup(self, config: dict[str, Any]) -> None:
        self.random = np.random.default_rng(config["seed"])
        self.position = 10.0

    def step(self) -> dict[str, Any]:
        losses = []
        for _ in range(10):
            self.position -= self.config["rate"] * (self.position + self.random.normal())
            losses.append(self.position**2)
        return {"loss": float(np.mean(losses))}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"position": self.position}

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.position = checkpoint["position"]


def pbt(seeds: int) -> tuple[Figures, Curves]:
    space = {"rate": tune.loguniform(1e-4, 1), "seed": tune.randint(0, 10**6)}
    curves: dict[str, list[list[float]]] = {"with exploits": [], "without exploits": []}
    bests: dict[str, list[float]] = {name: [] for name in curves}
    for seed in range(seeds):
        for name in curves:
            exploits = name == "with exploits"
            scheduler = PopulationBasedTraining(
                "training_iteration",
                perturbation_interval=2 if exploits else 10**6,
                hyperparam_mutations={"rate": tune.loguniform(1e-4, 1)},
                synch=exploits,
            )
            reports = searched(
                Walker,
                seed,
                "loss",
                "min",
                config=space,
                scheduler=scheduler,
                num_samples=POPULATION,
                stop={"training_iteration": GENERATIONS},
            )
            logarithms = [[math.log10(loss + 1e-12) for loss in reports.by_iteration[i + 1]] for i in range(GENERATIONS)]
            curves[name].append([float(np.mean(population)) for population in logarithms])
            bests[name].append(min(logarithms[-1]))
    ends = {name: np.array(rows)[:, -1] for name, rows in curves.items()}
    figures = {f"PBT: population's mean log10 loss {name}": with_error(end) for name, end in ends.items()}
    figures["PBT: with - without, same seed"] = with_error(ends["with exploits"] - ends["without exploits"])
    figures["PBT: seeds in which exploits win"] = f"{sum(ends['with exploits'] < ends['without exploits'])} of {seeds}"
    figures.update({f"PBT: log10 loss of the best at the end, {name}": with_error(values) for name, values in bests.items()})
    return figures, {name: np.array(rows) for name, rows in curves.items()}


# -- TPE
def branin(config: dict[str, Any]) -> float:
    x, y = config["x"], config["y"]
    return (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def branin_space(trial: Any) -> None:
    trial.suggest_float("x", -5, 10)
    trial.suggest_float("y", 0, 15)


def mixed(config: dict[str, Any]) -> float:
    if config["kind"] == "near":
        return abs(math.log10(config["rate"]) + 3) / 3 + abs(config["depth"] - 6) / 14
    return 0.3 + 1.2 * config["share"]


def trap(config: dict[str, Any]) -> float:
    if config["kind"] == "near":
        return abs(math.log10(config["rate"]) + 3) + abs(config["depth"] - 6) / 6
    return 1 + config["share"]


def mixed_space(trial: Any) -> None:
    if trial.suggest_categorical("kind", ["near", "far", "away"]) == "near":
        trial.suggest_float("rate", 1e-6, 1, log=True)
        trial.suggest_int("depth", 1, 20)
    else:
        trial.suggest_float("share", 0, 1)


def best_so_far(objective: Any, space: Any, name: str, seed: int) -> np.ndarray:
    if name == "TPE":
        search = OptunaSearch(space, metric="loss", mode="min", seed=seed)
    else:
        search = OptunaSearch(space, metric="loss", mode="min", sampler=optuna.samplers.RandomSampler(seed=seed))
    losses = []
    for number in range(SUGGESTIONS):
        losses.append(objective(search.suggest(str(number)) or {}))
        search.on_trial_complete(str(number), {"loss": losses[-1]})
    return np.minimum.accumulate(losses)


def tpe(objective: Any, space: Any, seeds: int) -> tuple[Figures, Curves]:
    curves = {
        name: np.array([best_so_far(objective, space, name, seed) for seed in range(seeds)])
        for name in ("TPE", "random sampling")
    }
    title = f"{objective.__name__}, {SUGGESTIONS} trials, {seeds} seeds"
    ours, theirs = (curve[:, -1] for curve in curves.values())
    figures = {f"{title}: best of {name}": with_error(curve[:, -1]) for name, curve in curves.items()}
    figures[f"{title}: TPE - random, same seed"] = with_error(ours - theirs)
    figures[f"{title}: seeds in which TPE wins"] = f"{sum(ours < theirs)} of {seeds}"
    return figures, curves


def draw(curves: Curves, file: Path, x: str, y: str) -> None:
    """Means over the seeds, with a band of one standard error."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for name, rows in curves.items():
        steps, mean, error = np.arange(1, rows.shape[1] + 1), rows.mean(0), rows.std(0, ddof=1) / math.sqrt(len(rows))
        axes.plot(steps, mean, label=name)
        axes.fill_between(steps, mean - error, mean + error, alpha=0.25)
    axes.set(xlabel=x, ylabel=y)
    if "ASHA" in curves:
        axes.set_ylim(float(curves["random search"][:, -1].mean()) - 0.15, None)
    axes.legend()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=90)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="for ASHA and PBT; TPE takes six times as many")
    parser.add_argument("--only", choices=["asha", "pbt", "tpe"])
    parser.add_argument("--plots", type=Path, help="folder for pictures; needs matplotlib")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    shoal.init(num_cpus=2)
    parts = {
        "tune_asha": (lambda: asha(options.seeds), "epochs of all trials", "best accuracy so far"),
        "tune_pbt": (lambda: pbt(options.seeds), "iteration", "mean log10 loss of the population"),
        "tune_tpe_branin": (lambda: tpe(branin, branin_space, 6 * options.seeds), "trial", "best loss so far"),
        "tune_tpe_mixed": (lambda: tpe(mixed, mixed_space, 6 * options.seeds), "trial", "best loss so far"),
        "tune_tpe_trap": (lambda: tpe(trap, mixed_space, 6 * options.seeds), "trial", "best loss so far"),
    }
    figures: Figures = {"seeds": str(options.seeds), "load before": str(os.getloadavg())}
    for name, (part, x, y) in parts.items():
        if options.only in (None, name.split("_")[1]):
            started = time.perf_counter()
            found, curves = part()
            figures.update(found)
            figures[f"{name}: took"] = f"{time.perf_counter() - started:.0f} s"
            if options.plots:
                draw(curves, options.plots / f"{name}.png", x, y)
    shoal.shutdown()
    figures["load after"] = str(os.getloadavg())
    print("\n".join(["| figure | value |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in figures.items())]))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
