"""scikit-learn's searches over forked trials: the data is shared once, each trial is one configuration on all folds."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

import shoal
from shoal.tune.run_config import RunConfig, TuneConfig
from shoal.tune.search.extras import import_extra
from shoal.tune.search.sample import Domain, choice
from shoal.tune.search.searcher import Searcher
from shoal.tune.search.variant_generator import grid_search
from shoal.tune.trainable.with_parameters import with_parameters
from shoal.tune.tuner import Tuner

_sklearn = import_extra("sklearn.base", "TuneGridSearchCV", package="scikit-learn")
_selection = import_extra("sklearn.model_selection", "TuneGridSearchCV", package="scikit-learn")
_available_if = import_extra("sklearn.utils.metaestimators", "TuneGridSearchCV", package="scikit-learn").available_if

_PARAMETERS = "parameters"  # where a configuration holds the estimator's parameters


def _delegated(name: str) -> Any:
    """A method of the search that calls the best estimator's, and is there when the estimator has one."""

    def is_there(search: Any) -> bool:
        getattr(search.best_estimator_ if hasattr(search, "best_estimator_") else search.estimator, name)
        return True

    def method(self: Any, X: Any) -> Any:  # noqa: N803
        self._check_refit(name)
        return getattr(self.best_estimator_, name)(X)

    method.__name__ = name
    method.__doc__ = f"``{name}`` of the best estimator; raises AttributeError without ``refit``."
    return _available_if(is_there)(method)


class _TuneSearch(_sklearn.MetaEstimatorMixin, _sklearn.BaseEstimator):  # type: ignore[misc,name-defined]
    """What both searches share. After ``fit``: ``best_params_``, ``best_score_``, ``best_index_``, ``best_estimator_`` (with
    ``refit``), ``cv_results_``, ``scorer_``, ``n_splits_``, ``refit_time_``."""

    def __init__(self, estimator: Any, **settings: Any) -> None:
        self.estimator = estimator
        self.scoring = settings["scoring"]
        self.n_jobs: int | None = settings["n_jobs"]
        self.refit: bool = settings["refit"]
        self.cv = settings["cv"]
        self.verbose: int = settings["verbose"]
        self.error_score = settings["error_score"]
        self.return_train_score: bool = settings["return_train_score"]
        self.max_concurrent_trials: int | None = settings["max_concurrent_trials"]
        self.time_budget_s: float | None = settings["time_budget_s"]

    def _space(self) -> dict[str, Any]:
        raise NotImplementedError

    def _tune_config(self) -> TuneConfig:
        raise NotImplementedError

    def fit(self, X: Any, y: Any = None, *, groups: Any = None, **fit_params: Any) -> Any:  # noqa: N803
        """Tries all configurations and, with ``refit``, fits the best one on everything.

        Raises ValueError when none was evaluated, or when the estimator needs a target and ``y`` is None; the trial's own error
        when one has failed.
        """
        from sklearn.metrics import check_scoring
        from sklearn.utils import indexable

        if y is None and _needs_target(self.estimator):
            raise ValueError(
                f"{type(self).__name__} of a {type(self.estimator).__name__} requires y to be passed, but the target y is None"
            )
        X, y, groups = indexable(X, y, groups)  # noqa: N806
        splitter = _selection.check_cv(self.cv, y, classifier=_sklearn.is_classifier(self.estimator))
        self.scorer_ = check_scoring(self.estimator, scoring=self.scoring)
        splits = list(splitter.split(X, y, groups))
        self.n_splits_ = len(splits)
        self.multimetric_ = False
        data = {
            "estimator": self.estimator,
            "data": (X, y),
            "splits": splits,
            "scorer": self.scorer_,
            "fit_params": fit_params,
            "error_score": self.error_score,
            "return_train_score": self.return_train_score,
        }
        started = not shoal.is_initialized()
        with tempfile.TemporaryDirectory(prefix="tune-sklearn-") as folder:
            run_config = RunConfig(storage_path=folder, name="search", verbose=self.verbose)
            tuner = Tuner(
                with_parameters(_evaluate, **data),
                param_space=self._space(),
                tune_config=self._tune_config(),
                run_config=run_config,
            )
            grid = tuner.fit()
        if started and shoal.is_initialized():
            shoal.shutdown()
        failed = [result.error for result in grid if result.error is not None]
        if failed:
            raise failed[0]
        self._take_results(grid)
        if self.refit:
            self._fit_best(X, y, fit_params)
        return self

    def _take_results(self, grid: Any) -> None:
        results = [result.metrics for result in grid if "mean_test_score" in result.metrics]
        if not results:
            raise ValueError("no configuration was evaluated: the time budget was too short, or the space is empty")
        if all("fit_failure" in result for result in results):
            raise ValueError(results[0]["fit_failure"])
        columns: dict[str, Any] = {"params": [result["config"][_PARAMETERS] for result in results]}
        for name in sorted({name for result in results for name in result if name.endswith(("_score", "_time"))}):
            columns[name] = np.array([result[name] for result in results])
        for name in sorted({name for parameters in columns["params"] for name in parameters}):
            values: Any = np.ma.MaskedArray(np.empty(len(results), dtype=object), mask=True)
            for index, parameters in enumerate(columns["params"]):
                if name in parameters:
                    values[index] = parameters[name]
            columns[f"param_{name}"] = values
        scores = np.where(np.isnan(columns["mean_test_score"]), -np.inf, columns["mean_test_score"])
        columns["rank_test_score"] = np.array([1 + int((scores > score).sum()) for score in scores], dtype=np.int32)
        self.cv_results_ = columns
        self.best_index_ = int(np.argmax(scores))
        self.best_score_ = float(columns["mean_test_score"][self.best_index_])
        self.best_params_ = columns["params"][self.best_index_]

    def _fit_best(self, X: Any, y: Any, fit_params: dict[str, Any]) -> None:  # noqa: N803
        self.best_estimator_ = _sklearn.clone(self.estimator).set_params(**_sklearn.clone(self.best_params_, safe=False))
        started = time.monotonic()
        if y is not None:
            self.best_estimator_.fit(X, y, **fit_params)
        else:
            self.best_estimator_.fit(X, **fit_params)
        self.refit_time_ = time.monotonic() - started
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_

    # -- the best estimator's methods
    @property
    def n_features_in_(self) -> int:
        if not hasattr(self, "best_estimator_"):
            raise AttributeError(f"{type(self).__name__} has no n_features_in_ before fit")
        return int(self.best_estimator_.n_features_in_)

    @property
    def classes_(self) -> Any:
        self._check_refit("classes_")
        return self.best_estimator_.classes_

    @property
    def _estimator_type(self) -> Any:
        return getattr(self.estimator, "_estimator_type", None)

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import get_tags

        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.estimator_type = inner.estimator_type
        tags.classifier_tags = inner.classifier_tags
        tags.regressor_tags = inner.regressor_tags
        tags.target_tags = inner.target_tags
        tags.input_tags.pairwise = inner.input_tags.pairwise
        tags.input_tags.sparse = inner.input_tags.sparse
        return tags

    def _check_refit(self, method: str) -> None:
        from sklearn.utils.validation import check_is_fitted

        if not self.refit:
            raise AttributeError(f"{method} needs refit=True, but got refit={self.refit}")
        check_is_fitted(self, "best_estimator_")

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        self._check_refit("score")
        return float(self.scorer_(self.best_estimator_, X, y))

    predict = _delegated("predict")
    predict_proba = _delegated("predict_proba")
    predict_log_proba = _delegated("predict_log_proba")
    decision_function = _delegated("decision_function")
    transform = _delegated("transform")
    inverse_transform = _delegated("inverse_transform")
    score_samples = _delegated("score_samples")


class TuneGridSearchCV(_TuneSearch):
    """Like scikit-learn's GridSearchCV: each combination of ``param_grid`` (a dictionary of lists, or several of
    them) is cross-validated.

    ``scoring``, ``cv``, ``refit``, ``error_score`` and ``return_train_score`` as there (one metric). ``n_jobs``, or
    ``max_concurrent_trials``, limits how many run at a time (None: as many as there are CPUs).
    """

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: bool = True,
        cv: Any = None,
        verbose: int = 0,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        max_concurrent_trials: int | None = None,
        time_budget_s: float | None = None,
    ) -> None:
        super().__init__(
            estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            error_score=error_score,
            return_train_score=return_train_score,
            max_concurrent_trials=max_concurrent_trials,
            time_budget_s=time_budget_s,
        )
        self.param_grid: Any = param_grid

    def _space(self) -> dict[str, Any]:
        grids = [self.param_grid] if isinstance(self.param_grid, Mapping) else self.param_grid
        if not isinstance(grids, (list, tuple)) or not all(isinstance(grid, Mapping) for grid in grids):
            raise TypeError(f"param_grid must be a dictionary of lists, or a list of them, but got param_grid={grids!r}")
        return {_PARAMETERS: grid_search(list(_selection.ParameterGrid(self.param_grid)))}

    def _tune_config(self) -> TuneConfig:
        return TuneConfig(
            metric="mean_test_score",
            mode="max",
            max_concurrent_trials=_concurrency(self),
            time_budget_s=self.time_budget_s,
        )


class TuneSearchCV(_TuneSearch):
    """Like scikit-learn's RandomizedSearchCV: ``n_trials`` configurations of ``param_distributions`` are cross-validated.

    ``param_distributions``: lists, Tune's domains, or scipy distributions. ``search_optimization``: "random", a searcher's name
    ("optuna", "hyperopt") or instance, which learns.
    """

    def __init__(
        self,
        estimator: Any,
        param_distributions: dict[str, Any],
        *,
        n_trials: int = 10,
        search_optimization: Any = "random",
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: bool = True,
        cv: Any = None,
        verbose: int = 0,
        random_state: int | None = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        max_concurrent_trials: int | None = None,
        time_budget_s: float | None = None,
    ) -> None:
        super().__init__(
            estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            error_score=error_score,
            return_train_score=return_train_score,
            max_concurrent_trials=max_concurrent_trials,
            time_budget_s=time_budget_s,
        )
        self.param_distributions = param_distributions
        self.n_trials = n_trials
        self.search_optimization = search_optimization
        self.random_state = random_state

    def _space(self) -> dict[str, Any]:
        if not isinstance(self.param_distributions, Mapping):
            raise TypeError(
                f"param_distributions must be a dictionary, but got param_distributions={self.param_distributions!r}"
            )
        return {_PARAMETERS: {name: self._domain(name, values) for name, values in self.param_distributions.items()}}

    def _domain(self, name: str, values: Any) -> Any:
        if isinstance(values, Domain):
            return values
        if hasattr(values, "rvs"):
            return _ScipyDomain(values)
        if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
            raise TypeError(f"param_distributions must hold lists, domains or distributions, but got {name}={values!r}")
        return choice(list(values))

    def _tune_config(self) -> TuneConfig:
        from shoal.tune.search import BasicVariantGenerator, create_searcher

        search_alg: Any = self.search_optimization
        if search_alg == "random":
            search_alg = BasicVariantGenerator(random_state=self.random_state)
        elif isinstance(search_alg, str):
            search_alg = create_searcher(search_alg, **({"seed": self.random_state} if self.random_state is not None else {}))
        elif not isinstance(search_alg, Searcher):
            raise ValueError(f"search_optimization must be 'random', a name or a Searcher, but got {search_alg!r}")
        return TuneConfig(
            metric="mean_test_score",
            mode="max",
            search_alg=search_alg,
            num_samples=self.n_trials,
            max_concurrent_trials=_concurrency(self),
            time_budget_s=self.time_budget_s,
        )


class _ScipyDomain(Domain):
    """A scipy distribution as a domain."""

    def __init__(self, distribution: Any) -> None:
        self.distribution = distribution

    def sample(self, config: Any = None, size: int = 1, random_state: Any = None) -> Any:
        from shoal.tune.search.random_numbers import generator_for

        seed = int(generator_for(random_state).integers(0, 2**31 - 1))
        values = [
            value.item() if isinstance(value, np.generic) else value for value in self.distribution.rvs(size, random_state=seed)
        ]
        return values[0] if size == 1 else values

    def is_valid(self, value: Any) -> bool:
        return True


def _needs_target(estimator: Any) -> bool:
    """Whether ``estimator`` says that it cannot be fitted without a target; before scikit-learn 1.6 none says so in advance."""
    tags = getattr(estimator, "__sklearn_tags__", None)
    return tags is not None and bool(tags().target_tags.required)


def _concurrency(search: _TuneSearch) -> int | None:
    if search.max_concurrent_trials is not None:
        return search.max_concurrent_trials
    return search.n_jobs if search.n_jobs is not None and search.n_jobs > 0 else None


def _evaluate(
    config: dict[str, Any],
    estimator: Any,
    data: Any,
    splits: Any,
    scorer: Any,
    fit_params: dict[str, Any],
    error_score: Any,
    return_train_score: bool,
) -> dict[str, Any]:
    """Cross-validates one configuration: the trial."""
    configured = _sklearn.clone(estimator).set_params(**_sklearn.clone(config[_PARAMETERS], safe=False))
    features, target = data
    try:
        found = _selection.cross_validate(
            configured,
            features,
            target,
            cv=splits,
            scoring=scorer,
            params=fit_params or None,
            error_score=error_score,
            return_train_score=return_train_score,
        )
    except ValueError as error:
        if error_score == "raise" or "fits failed" not in str(error):
            raise
        # scikit-learn's own searches also go on with the other configurations when one fails on all folds.
        nothing = [error_score] * len(splits)
        names = ["test_score", "fit_time", "score_time", *(["train_score"] if return_train_score else [])]
        found = {"fit_failure": str(error), **dict.fromkeys(names, nothing)}
    metrics: dict[str, Any] = {"fit_failure": found["fit_failure"]} if "fit_failure" in found else {}
    for name in ("test_score", "train_score"):
        if name in found:
            metrics.update({f"split{index}_{name}": float(score) for index, score in enumerate(found[name])})
            metrics.update({f"mean_{name}": float(np.mean(found[name])), f"std_{name}": float(np.std(found[name]))})
    for name in ("fit_time", "score_time"):
        metrics.update({f"mean_{name}": float(np.mean(found[name])), f"std_{name}": float(np.std(found[name]))})
    return metrics
