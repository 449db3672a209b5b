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
_available_if = import_extra("sklearn.utils.metaestimators", "TuneGridSearchCV", package="scikit-learn").available_if


def _best_has(name: str) -> Any:
    """A method of the search that is there when the estimator has it."""

    def check(search: Any) -> bool:
        getattr(search.best_estimator_ if hasattr(search, "best_estimator_") else search.estimator, name)
        return True

    return _available_if(check)


class _TuneSearch(_sklearn.MetaEstimatorMixin, _sklearn.BaseEstimator):  # type: ignore[misc,name-defined]
    """What both searches share. After ``fit``: ``best_params_``, ``best_score_``, ``best_index_``, ``best_estimator_`` (with
    ``refit``), ``cv_results_``, ``scorer_``, ``n_splits_``, ``refit_time_``, ``analysis_``."""

    estimator: Any
    scoring: Any
    n_jobs: int | None
    refit: bool
    cv: Any
    verbose: int
    error_score: Any
    return_train_score: bool
    max_concurrent_trials: int | None
    time_budget_s: float | None

    def _space(self) -> dict[str, Any]:
        raise NotImplementedError

    def _tune_config(self) -> TuneConfig:
        raise NotImplementedError

    def fit(self, X: Any, y: Any = None, *, groups: Any = None, **fit_params: Any) -> Any:  # noqa: N803
        """Tries all configurations and, with ``refit``, fits the best one on everything.

        Raises ValueError when none was evaluated, and the trial's own error when one has failed.
        """
        from sklearn.metrics import check_scoring
        from sklearn.model_selection import check_cv
        from sklearn.utils import indexable

        X, y, groups = indexable(X, y, groups)  # noqa: N806
        splitter = check_cv(self.cv, y, classifier=_sklearn.is_classifier(self.estimator))
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
        columns: dict[str, Any] = {"params": [result["config"] for result in results]}
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

    @_best_has("predict")  # type: ignore[untyped-decorator]
    def predict(self, X: Any) -> Any:  # noqa: N803
        self._check_refit("predict")
        return self.best_estimator_.predict(X)

    @_best_has("predict_proba")  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        self._check_refit("predict_proba")
        return self.best_estimator_.predict_proba(X)

    @_best_has("predict_log_proba")  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> Any:  # noqa: N803
        self._check_refit("predict_log_proba")
        return self.best_estimator_.predict_log_proba(X)

    @_best_has("decision_function")  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> Any:  # noqa: N803
        self._check_refit("decision_function")
        return self.best_estimator_.decision_function(X)

    @_best_has("transform")  # type: ignore[untyped-decorator]
    def transform(self, X: Any) -> Any:  # noqa: N803
        self._check_refit("transform")
        return self.best_estimator_.transform(X)

    @_best_has("inverse_transform")  # type: ignore[untyped-decorator]
    def inverse_transform(self, X: Any) -> Any:  # noqa: N803
        self._check_refit("inverse_transform")
        return self.best_estimator_.inverse_transform(X)

    @_best_has("score_samples")  # type: ignore[untyped-decorator]
    def score_samples(self, X: Any) -> Any:  # noqa: N803
        self._check_refit("score_samples")
        return self.best_estimator_.score_samples(X)


class TuneGridSearchCV(_TuneSearch):
    """Like scikit-learn's GridSearchCV: each combination of ``param_grid`` (a dictionary of lists) is cross-validated.

    ``scoring``, ``cv``, ``refit``, ``error_score`` and ``return_train_score`` as there (one metric). ``n_jobs``, or
    ``max_concurrent_trials``, limits how many run at a time (None: as many as there are CPUs).
    """

    def __init__(
        self,
        estimator: Any,
        param_grid: dict[str, Any],
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
        self.estimator = estimator
        self.param_grid = param_grid
        self.scoring = scoring
        self.n_jobs = n_jobs
        self.refit = refit
        self.cv = cv
        self.verbose = verbose
        self.error_score = error_score
        self.return_train_score = return_train_score
        self.max_concurrent_trials = max_concurrent_trials
        self.time_budget_s = time_budget_s

    def _space(self) -> dict[str, Any]:
        if not isinstance(self.param_grid, Mapping):
            raise TypeError(f"param_grid must be a dictionary of lists, but got param_grid={self.param_grid!r}")
        return {name: grid_search(list(values)) for name, values in self.param_grid.items()}

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
        self.estimator = estimator
        self.param_distributions = param_distributions
        self.n_trials = n_trials
        self.search_optimization = search_optimization
        self.scoring = scoring
        self.n_jobs = n_jobs
        self.refit = refit
        self.cv = cv
        self.verbose = verbose
        self.random_state = random_state
        self.error_score = error_score
        self.return_train_score = return_train_score
        self.max_concurrent_trials = max_concurrent_trials
        self.time_budget_s = time_budget_s

    def _space(self) -> dict[str, Any]:
        if not isinstance(self.param_distributions, Mapping):
            raise TypeError(
                f"param_distributions must be a dictionary, but got param_distributions={self.param_distributions!r}"
            )
        return {name: self._domain(name, values) for name, values in self.param_distributions.items()}

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
    from sklearn.model_selection import cross_validate

    configured = _sklearn.clone(estimator).set_params(**_sklearn.clone(config, safe=False))
    features, target = data
    found = cross_validate(
        configured,
        features,
        target,
        cv=splits,
        scoring=scorer,
        params=fit_params or None,
        error_score=error_score,
        return_train_score=return_train_score,
    )
    metrics: dict[str, Any] = {}
    for name in ("test_score", "train_score"):
        if name in found:
            metrics.update({f"split{index}_{name}": float(score) for index, score in enumerate(found[name])})
            metrics.update({f"mean_{name}": float(np.mean(found[name])), f"std_{name}": float(np.std(found[name]))})
    for name in ("fit_time", "score_time"):
        metrics.update({f"mean_{name}": float(np.mean(found[name])), f"std_{name}": float(np.std(found[name]))})
    return metrics
