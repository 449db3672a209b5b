"""HyperOpt: tree-structured Parzen estimators over its own conditional spaces."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from shoal.tune.flatten import copy_containers
from shoal.tune.mode import sign_of
from shoal.tune.result import DEFAULT_METRIC
from shoal.tune.search.extras import import_extra
from shoal.tune.search.points import check_no_grid, plain_value, same, score_of, unquantized
from shoal.tune.search.sample import Categorical, Domain, Float, Integer, LogUniform, Normal
from shoal.tune.search.searcher import Searcher
from shoal.tune.search.variant_generator import assign_value

_CONSTANT_SPACE = (
    "HyperOpt encountered an error when sampling from the space: it holds no domain to draw from. "
    "This issue can also come up with HyperOpt if your search space only contains constants, but got space={space!r}"
)


class HyperOptSearch(Searcher):
    """Suggestions of HyperOpt's TPE.

    ``space``: domains, HyperOpt's own expressions, or both. ``n_initial_points`` random suggestions come first; ``gamma`` is
    TPE's. ``points_to_evaluate`` are tried first and must name every hyperparameter.
    """

    def __init__(
        self,
        space: dict[str, Any] | None = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        n_initial_points: int = 20,
        random_state_seed: int | None = None,
        gamma: float = 0.25,
    ) -> None:
        self._hyperopt = import_extra("hyperopt", "HyperOptSearch")
        super().__init__(metric=metric, mode=mode)
        self._points = self.copy_points(points_to_evaluate)
        self._algorithm = partial(self._hyperopt.tpe.suggest, n_startup_jobs=n_initial_points, gamma=gamma)
        self._random = np.random.default_rng(random_state_seed)
        self._template: Any = space  # says where lists were: HyperOpt makes tuples of them
        self._space = self.convert_search_space(space) if isinstance(space, dict) and space else space
        self._live: dict[str, int] = {}
        self._queued: list[int] = []
        self._domain: Any = None
        self._study: Any = None
        if self._space:
            self._setup()

    def _setup(self) -> None:
        self._domain = self._hyperopt.Domain(lambda space: space, self._space)
        if not self._domain.params:
            raise RuntimeError(_CONSTANT_SPACE.format(space=self._space))
        self._study = self._hyperopt.Trials()
        if self._points:
            self._enqueue_points()

    def _enqueue_points(self) -> None:
        labels = set(self._domain.params)
        choices = _choices(self._space)
        for point in self._points:
            values = {name: _index(choices.get(name), value) for name, value in _flat(point).items()}
            missing = sorted(labels - set(values))
            if missing:
                raise ValueError(f"points_to_evaluate must name every hyperparameter, but got {point} without {missing}")
            chosen = {name: [values[name]] for name in labels}
            tid = self._study.new_trial_ids(1)[0]
            miscellany = {"tid": tid, "cmd": self._domain.cmd, "workdir": self._domain.workdir}
            miscellany.update(idxs={name: [tid] for name in labels}, vals=chosen)
            documents = self._study.new_trial_docs([tid], [None], [self._domain.new_result()], [miscellany])
            self._study.insert_trial_docs(documents)
        self._study.refresh()
        self._queued = [document["tid"] for document in self._study.trials]

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        self._metric = self._metric or metric
        self._mode = self._mode or mode
        if self._space:
            return False
        self._template, self._space = config, self.convert_search_space(config)
        self._setup()
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if self._domain is None:
            raise RuntimeError("HyperOptSearch needs a space: give it as the config of the run, or as space=...")
        if self._queued:
            tid, self._queued = self._queued[0], self._queued[1:]
            document = next(one for one in self._study.trials if one["tid"] == tid)
        else:
            ids = self._study.new_trial_ids(1)
            self._study.refresh()
            documents = self._algorithm(ids, self._domain, self._study, int(self._random.integers(2**31 - 1)))
            self._study.insert_trial_docs(documents)
            self._study.refresh()
            document = documents[0]
        self._live[trial_id] = document["tid"]
        values = self._hyperopt.base.spec_from_misc(document["misc"])
        config: dict[str, Any] = _like(self._template, plain_value(self._hyperopt.space_eval(self._space, values)))
        return config

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        tid = self._live.pop(trial_id, None)
        document = next((one for one in self._study._dynamic_trials if one["tid"] == tid), None) if tid is not None else None
        if document is None:
            return
        score = score_of(result, self.metric or DEFAULT_METRIC)
        if error or score is None:
            document["state"] = self._hyperopt.JOB_STATE_ERROR
            document["misc"]["error"] = ("the trial failed", "no score")
        else:
            document["state"] = self._hyperopt.JOB_STATE_DONE
            document["result"] = {"loss": -sign_of(self.mode or "max") * score, "status": "ok"}
        self._study.refresh()

    def get_state(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_hyperopt", "_domain", "_algorithm")}

    def set_state(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._space:
            self._domain = self._hyperopt.Domain(lambda space: space, self._space)

    @staticmethod
    def convert_search_space(spec: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        """``spec`` with HyperOpt's expressions in the place of domains. Raises ValueError for grids."""
        hyperopt = import_extra("hyperopt", "HyperOptSearch")
        _, domains = check_no_grid(spec, "HyperOptSearch")
        space = copy_containers(spec)
        for path, domain in domains:
            label = "/".join([*([prefix] if prefix else []), *(str(key) for key in path)])
            assign_value(space, path, _expression(hyperopt.hp, label, domain))
        converted: dict[str, Any] = space
        return converted


def _expression(hp: Any, label: str, domain: Domain) -> Any:
    sampler, quantum = unquantized(domain)
    if isinstance(domain, Categorical):
        options = [_converted(value, f"{label}/{index}") for index, value in enumerate(domain.categories)]
        return hp.choice(label, options)
    if isinstance(domain, Float):
        if isinstance(sampler, Normal):
            return (
                hp.qnormal(label, sampler.mean, sampler.sd, quantum) if quantum else hp.normal(label, sampler.mean, sampler.sd)
            )
        if isinstance(sampler, LogUniform):
            bounds = (np.log(domain.lower), np.log(domain.upper))
            return hp.qloguniform(label, *bounds, quantum) if quantum else hp.loguniform(label, *bounds)
        return (
            hp.quniform(label, domain.lower, domain.upper, quantum)
            if quantum
            else hp.uniform(label, domain.lower, domain.upper)
        )
    if isinstance(domain, Integer):
        from hyperopt.pyll import scope

        if isinstance(sampler, LogUniform):
            return scope.int(hp.qloguniform(label, np.log(domain.lower), np.log(domain.upper - 1), quantum or 1))
        if quantum and quantum != 1:
            return scope.int(hp.quniform(label, domain.lower, domain.upper - 1, quantum))
        return hp.uniformint(label, domain.lower, domain.upper - 1)
    raise ValueError(f"HyperOpt does not draw from {type(domain).__name__}, but got it for {label!r}")


def _converted(value: Any, label: str) -> Any:
    """A category that may itself hold domains."""
    if isinstance(value, Domain):
        return _expression(import_extra("hyperopt", "HyperOptSearch").hp, label, value)
    if isinstance(value, dict):
        return HyperOptSearch.convert_search_space(value, prefix=label)
    if isinstance(value, list):
        return [_converted(item, f"{label}/{index}") for index, item in enumerate(value)]
    return value


def _flat(point: Any, prefix: str = "") -> dict[str, Any]:
    items = point.items() if isinstance(point, dict) else enumerate(point)
    flat: dict[str, Any] = {}
    for key, value in items:
        name = f"{prefix}/{key}" if prefix else str(key)
        flat.update(_flat(value, name) if isinstance(value, (dict, list)) else {name: value})
    return flat


def _choices(space: Any) -> dict[str, list[Any]]:
    """The options of each choice, by its label."""
    from hyperopt.pyll import as_apply, dfs

    found: dict[str, list[Any]] = {}
    for node in dfs(as_apply(space)):
        if node.name == "switch" and node.pos_args[0].name == "hyperopt_param":
            label = node.pos_args[0].pos_args[0].obj
            found[label] = [getattr(option, "obj", option) for option in node.pos_args[1:]]
    return found


def _index(options: list[Any] | None, value: Any) -> Any:
    return value if options is None else options.index(value)


def _like(template: Any, value: Any) -> Any:
    """``value`` with lists where ``template`` has them."""
    if isinstance(template, dict) and isinstance(value, dict):
        return {key: _like(template.get(key), item) for key, item in value.items()}
    if isinstance(template, list) and isinstance(value, (list, tuple)) and len(template) == len(value):
        return [_like(inner, item) for inner, item in zip(template, value, strict=True)]
    if isinstance(template, Categorical):
        return next((category for category in template.categories if same(_with_tuples(category), value)), value)
    return value


def _with_tuples(value: Any) -> Any:
    return tuple(_with_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value
