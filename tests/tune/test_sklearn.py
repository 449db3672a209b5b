"""The searches behave like scikit-learn's own; that they are estimators is in test_sklearn_checks.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import uniform
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

from shoal import tune
from shoal.tune.sklearn import TuneGridSearchCV, TuneSearchCV

pytestmark = pytest.mark.usefixtures("cluster")


def test_a_grid_search_finds_what_grid_search_cv_finds() -> None:
    x, y = load_iris(return_X_y=True)
    grid = {"C": [0.01, 1.0], "kernel": ["linear", "rbf"]}
    ours = TuneGridSearchCV(SVC(), grid, cv=3).fit(x, y)
    theirs = GridSearchCV(SVC(), grid, cv=3).fit(x, y)
    assert ours.best_params_ == theirs.best_params_
    assert ours.best_score_ == pytest.approx(theirs.best_score_)
    assert ours.cv_results_["params"] == theirs.cv_results_["params"]
    for name in ("mean_test_score", "std_test_score", "split1_test_score", "rank_test_score"):
        assert ours.cv_results_[name] == pytest.approx(theirs.cv_results_[name])
    assert (ours.predict(x) == theirs.predict(x)).all()
    assert ours.score(x, y) == theirs.score(x, y)
    assert is_classifier(ours) and not hasattr(ours, "predict_proba") and clone(ours).param_grid == grid


def test_several_grids_are_searched_like_one() -> None:
    x, y = load_iris(return_X_y=True)
    grids = [{"kernel": ["linear"], "C": [0.1, 1.0]}, {"kernel": ["rbf"], "gamma": [0.1]}]
    ours = TuneGridSearchCV(SVC(), grids, cv=2).fit(x, y)
    theirs = GridSearchCV(SVC(), grids, cv=2).fit(x, y)
    assert ours.cv_results_["params"] == theirs.cv_results_["params"]
    assert ours.cv_results_["param_gamma"].mask.tolist() == [True, True, False]
    assert ours.best_params_ == theirs.best_params_


class Pickles(np.ndarray):
    """Counts how often it is pickled in this process."""

    count = 0

    def __reduce__(self) -> Any:
        type(self).count += 1
        return super().__reduce__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        type(self).count += 1
        return super().__reduce_ex__(protocol)


def test_the_data_is_handed_over_once_for_all_trials() -> None:
    x, y = load_iris(return_X_y=True)
    counted = x.view(Pickles)
    TuneGridSearchCV(SVC(), {"C": [0.01, 0.1, 1.0, 10.0, 100.0]}, cv=2, refit=False).fit(counted, y)
    assert 1 <= Pickles.count <= 3


@pytest.mark.parametrize("optimizer", ["optuna", "hyperopt"])
def test_a_search_can_learn(optimizer: str) -> None:
    x, y = load_iris(return_X_y=True)
    space = {"C": tune.loguniform(1e-3, 1e2), "kernel": ["linear", "rbf"]}
    search = TuneSearchCV(SVC(), space, n_trials=4, search_optimization=optimizer, cv=2).fit(x, y)
    assert len(search.cv_results_["params"]) == 4 and set(search.best_params_) == {"C", "kernel"}


def test_failing_fits_score_nan_or_raise_like_there() -> None:
    x, y = load_iris(return_X_y=True)
    grid = {"C": [-1.0, 1.0]}
    search = TuneGridSearchCV(SVC(), grid, cv=2).fit(x, y)
    assert np.isnan(search.cv_results_["mean_test_score"][0]) and search.best_params_ == {"C": 1.0}
    with pytest.raises(ValueError, match="'C' parameter"):
        TuneGridSearchCV(SVC(), grid, cv=2, error_score="raise").fit(x, y)


def test_without_refit_there_is_no_prediction() -> None:
    x, y = load_iris(return_X_y=True)
    search = TuneGridSearchCV(SVC(), {"C": [1.0]}, cv=2, refit=False).fit(x, y)
    assert search.best_score_ > 0.9
    with pytest.raises(AttributeError, match="predict needs refit=True, but got refit=False"):
        search.predict(x)


def test_a_random_search_takes_lists_domains_and_distributions() -> None:
    x, y = load_iris(return_X_y=True)
    space = {"C": tune.loguniform(1e-2, 1e2), "max_iter": [500, 1000], "l1_ratio": uniform(0, 0)}
    search = TuneSearchCV(LogisticRegression(), space, n_trials=4, random_state=3, cv=2).fit(x, y)
    again = TuneSearchCV(LogisticRegression(), space, n_trials=4, random_state=3, cv=2).fit(x, y)
    assert search.cv_results_["params"] == again.cv_results_["params"] and len(search.cv_results_["params"]) == 4
    assert search.best_score_ > 0.9
    assert list(np.unique(search.predict(x))) == [0, 1, 2]


def test_what_cannot_be_searched_is_refused() -> None:
    x, y = load_iris(return_X_y=True)
    with pytest.raises(TypeError, match="param_grid must be a dictionary of lists"):
        TuneGridSearchCV(SVC(), [1]).fit(x, y)
    with pytest.raises(TypeError, match="but got C=3"):
        TuneSearchCV(SVC(), {"C": 3}).fit(x, y)
    with pytest.raises(ValueError, match="Invalid parameter 'nothing'"):
        TuneGridSearchCV(SVC(), {"nothing": [1]}).fit(x, y)
