"""The searches behave like scikit-learn's own."""

from __future__ import annotations

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
    by_parameters = {
        str(sorted(p.items())): s for p, s in zip(ours.cv_results_["params"], ours.cv_results_["mean_test_score"], strict=True)
    }
    for parameters, score in zip(theirs.cv_results_["params"], theirs.cv_results_["mean_test_score"], strict=True):
        assert by_parameters[str(sorted(parameters.items()))] == pytest.approx(score)
    assert (ours.predict(x) == theirs.predict(x)).all()
    assert ours.score(x, y) == theirs.score(x, y)
    assert is_classifier(ours) and not hasattr(ours, "predict_proba") and clone(ours).param_grid == grid


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
