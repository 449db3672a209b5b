"""scikit-learn's own checks of estimators, over both searches: all of them, also the two that its own searches fail.

By default the trials run in this process, over a regressor and a classifier; some checks run over real trials.
SHOAL_ESTIMATORS=long (`make estimators`) runs all of them over real trials, and over pipelines, too, as scikit-learn does it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

import shoal
from shoal.tune.sklearn import TuneGridSearchCV, TuneSearchCV

LONG = os.environ.get("SHOAL_ESTIMATORS") == "long"
IN_PROCESSES = ("check_estimators_pickle", "check_n_features_in", "check_dict_unchanged", "check_regressors_train")


def searches() -> Iterator[tuple[str, Any]]:
    """As scikit-learn makes its own for these checks: two values, two folds, errors raised."""
    spaces = {
        "regressor": (Ridge(), {"alpha": [0.1, 1]}),
        "classifier": (LogisticRegression(), {"C": [0.1, 1]}),
        "regressor-pipeline": (make_pipeline(PCA(), Ridge()), {"ridge__alpha": [0.1, 1]}),
        "classifier-pipeline": (make_pipeline(PCA(), LogisticRegression()), {"logisticregression__C": [0.1, 1]}),
    }
    for kind, (estimator, space) in spaces.items():
        if LONG or not kind.endswith("pipeline"):
            yield f"grid-{kind}", TuneGridSearchCV(estimator, space, cv=2, error_score="raise")
            yield f"random-{kind}", TuneSearchCV(estimator, space, n_trials=2, cv=2, random_state=0, error_score="raise")


def checks() -> Iterator[Any]:
    """All but those of array libraries, which skip themselves where these are not installed."""
    for kind, search in searches():
        for estimator, check in estimator_checks_generator(search):
            name = getattr(check, "func", check).__name__
            if "array_api" not in name:
                yield pytest.param(estimator, check, id=f"{kind}-{name}")


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    shoal.init(num_cpus=2, inline=not LONG)
    yield
    shoal.shutdown()


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_a_search_is_an_estimator(estimator: Any, check: Any) -> None:
    check(estimator)


def test_a_search_over_real_trials_is_an_estimator() -> None:
    shoal.shutdown()  # the session of the tests above, if they ran in this process
    shoal.init(num_cpus=2)
    try:
        found = {parameter.id: parameter.values for parameter in checks()}
        for kind in ("grid-regressor", "random-regressor"):
            for name in IN_PROCESSES:
                estimator, check = found[f"{kind}-{name}"]
                check(estimator)
    finally:
        shoal.shutdown()
