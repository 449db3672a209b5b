"""From the arguments of ``Tuner`` and ``tune.run`` to a run."""

from __future__ import annotations

import importlib
import os
from typing import Any

import shoal
from shoal.tune.callback import Callback, CallbackList
from shoal.tune.experiment.experiment import Experiment
from shoal.tune.logger import CSVLoggerCallback, JsonLoggerCallback, TBXLoggerCallback
from shoal.tune.schedulers import FIFOScheduler, TrialScheduler, create_scheduler
from shoal.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchAlgorithm, SearchGenerator, create_searcher
from shoal.tune.search.search_generator import set_search_properties_backwards_compatible
from shoal.tune.search.searcher import Searcher
from shoal.tune.search.variant_generator import has_unresolved_values, parse_spec_vars, without_unresolved


def prepare_search(
    search_alg: Any, max_concurrent_trials: int | None, metric: str | None, mode: str | None, experiment: Experiment
) -> tuple[SearchAlgorithm, dict[str, Any]]:
    """The search algorithm, knowing metric, mode and space, and the configuration that is left for the experiment."""
    config = experiment.spec["config"]
    if isinstance(search_alg, str):
        search_alg = create_searcher(search_alg)
    if search_alg is None:
        search_alg = BasicVariantGenerator(max_concurrent=max_concurrent_trials or 0)
    elif max_concurrent_trials:
        search_alg = _limited(search_alg, max_concurrent_trials)
    if isinstance(search_alg, Searcher):
        search_alg = SearchGenerator(search_alg)
    if not isinstance(search_alg, SearchAlgorithm):
        raise ValueError(f"search_alg must be a name, a Searcher or a SearchAlgorithm, but got search_alg={search_alg!r}")
    if isinstance(search_alg, BasicVariantGenerator):
        search_alg.begin_run()
        _check_space(config)
        return search_alg, config
    _check_mode_known(getattr(search_alg, "searcher", None), metric, mode)
    space = dict(config)
    more = {key: value for key, value in experiment.public_spec.items() if key != "config"}
    taken = set_search_properties_backwards_compatible(search_alg.set_search_properties, metric, mode, space, **more)
    if has_unresolved_values(config):
        if not taken:
            searcher = type(getattr(search_alg, "searcher", search_alg)).__name__
            undrawn = [key for key, value in config.items() if has_unresolved_values(value)]
            raise ValueError(
                f"{searcher} has a space, metric or mode of its own and takes no other, but got config domains: {undrawn}"
            )
        return search_alg, without_unresolved(config)
    return search_alg, config


def _check_mode_known(searcher: Any, metric: str | None, mode: str | None) -> None:
    """Raises ValueError for one of our searchers that would have to guess whether more or less of the metric is better."""
    ours = type(searcher).__module__.startswith("shoal.tune.search.") and not type(searcher).__name__.startswith("_")
    if ours and (metric or searcher.metric) and mode is None and searcher.mode is None:
        raise ValueError(
            f"mode must be 'min' or 'max' when {type(searcher).__name__} searches for a metric, "
            f"but got metric={metric!r}, mode=None"
        )


def _limited(search_alg: Any, max_concurrent_trials: int) -> Any:
    if isinstance(search_alg, ConcurrencyLimiter):
        raise ValueError(
            "max_concurrent_trials and a ConcurrencyLimiter cannot both limit the run, "
            f"but got max_concurrent_trials={max_concurrent_trials} and {search_alg!r}"
        )
    if isinstance(search_alg, BasicVariantGenerator):
        if not search_alg.max_concurrent:
            search_alg.max_concurrent = max_concurrent_trials
        return search_alg
    if isinstance(search_alg, Searcher):
        return ConcurrencyLimiter(search_alg, max_concurrent_trials)
    return search_alg


def _check_space(config: dict[str, Any]) -> None:
    """Raises ValueError for a grid without points or a domain without finite bounds."""
    for path, domain in parse_spec_vars(config)[1]:
        if domain.is_function():
            continue
        for name in ("lower", "upper"):
            bound = getattr(domain, name, 0)
            if (
                isinstance(bound, float)
                and bound in (float("inf"), float("-inf"))
                and "Normal" not in str(domain.get_sampler())
            ):
                raise ValueError(f"{'/'.join(map(str, path))} needs finite bounds, but got {domain.domain_str}")


def prepare_scheduler(scheduler: Any, metric: str | None, mode: str | None) -> TrialScheduler:
    """The scheduler, knowing metric and mode; raises ValueError when it has others already."""
    if isinstance(scheduler, str):
        scheduler = create_scheduler(scheduler)
    scheduler = scheduler if scheduler is not None else FIFOScheduler()
    if not isinstance(scheduler, TrialScheduler):
        raise ValueError(f"scheduler must be a name or a TrialScheduler, but got scheduler={scheduler!r}")
    if not scheduler.set_search_properties(metric, mode):
        raise ValueError(
            f"metric and mode are given to {type(scheduler).__name__} and to the run; give them once, but got "
            f"metric={metric!r}, mode={mode!r} for a scheduler with metric={scheduler.metric!r}"
        )
    return scheduler


def prepare_callbacks(callbacks: Any) -> CallbackList:
    """The user's callbacks, those of RAY_TUNE_CALLBACKS, and the automatic loggers that they do not replace."""
    given = [*_callbacks_of_environment(), *(callbacks or [])]
    for callback in given:
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks must hold tune.Callback instances, but got {callback!r}")
    if os.environ.get("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS") != "1":
        for logger_class in (JsonLoggerCallback, CSVLoggerCallback):
            if not any(isinstance(callback, logger_class) for callback in given):
                given.append(logger_class())
        if TBXLoggerCallback.is_available() and not any(isinstance(callback, TBXLoggerCallback) for callback in given):
            given.append(TBXLoggerCallback())
    return CallbackList(given)


def _callbacks_of_environment() -> list[Callback]:
    """An instance of each class in RAY_TUNE_CALLBACKS, ``module.Class`` separated by commas."""
    made = []
    for path in filter(None, map(str.strip, os.environ.get("RAY_TUNE_CALLBACKS", "").split(","))):
        module, _, name = path.rpartition(".")
        try:
            callback = getattr(importlib.import_module(module), name)()
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise ValueError(
                f"RAY_TUNE_CALLBACKS must name classes of callbacks, but {path!r} cannot be made: {error}"
            ) from error
        if not isinstance(callback, Callback):
            raise ValueError(
                f"RAY_TUNE_CALLBACKS must name classes of tune.Callback, but {path!r} is a {type(callback).__name__}"
            )
        made.append(callback)
    return made


def cluster_resources() -> dict[str, float]:
    """What the cluster has; starts a local one when there is none (unless TUNE_DISABLE_AUTO_INIT is set)."""
    if not shoal.is_initialized():
        if os.environ.get("TUNE_DISABLE_AUTO_INIT") == "1":
            raise RuntimeError("Shoal is not initialized and TUNE_DISABLE_AUTO_INIT=1: call shoal.init() first")
        shoal.init()
    return {str(name): float(amount) for name, amount in shoal.cluster_resources().items()}


def is_inline() -> bool:
    """Whether actors run in this process (``init(inline=True)``)."""
    return shoal.get_runtime_context().gcs_address.startswith("inline:")
