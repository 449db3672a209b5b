"""A search that stops bad configurations early: ASHA over a small network on handwritten digits."""

from __future__ import annotations

import tempfile
import warnings

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from shoal import tune
from shoal.tune.schedulers import ASHAScheduler

EPOCHS = 9


def train(config: dict, data: tuple) -> None:
    x_train, x_test, y_train, y_test = data
    network = MLPClassifier((config["width"],), learning_rate_init=config["rate"], random_state=0)
    warnings.simplefilter("ignore")
    for _ in range(EPOCHS):
        network.partial_fit(x_train, y_train, classes=range(10))
        tune.report({"accuracy": network.score(x_test, y_test)})


def main() -> None:
    x, y = load_digits(return_X_y=True)
    data = train_test_split(x / 16, y, random_state=0)
    with tempfile.TemporaryDirectory() as folder:
        grid = tune.Tuner(
            tune.with_parameters(train, data=data),
            param_space={
                "rate": tune.grid_search([1e-5, 1e-4, 1e-3, 1e-2]),
                "width": tune.grid_search([4, 64]),
            },
            tune_config=tune.TuneConfig(
                metric="accuracy", mode="max", scheduler=ASHAScheduler(max_t=EPOCHS, grace_period=1, reduction_factor=3)
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
        best = grid.get_best_result()
        epochs = sum(result.metrics["training_iteration"] for result in grid)
        print(f"trials: {len(grid)}, best rate: {best.config['rate']}, width: {best.config['width']}")
        print(f"accuracy above 0.9: {best.metrics['accuracy'] > 0.9}, fewer epochs than without: {epochs < EPOCHS * len(grid)}")


if __name__ == "__main__":
    main()
