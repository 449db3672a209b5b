"""The common part of searchers that ask a library for flat points, and tell it their loss."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from shoal.tune.flatten import unflatten_list_dict
from shoal.tune.mode import sign_of
from shoal.tune.result import DEFAULT_METRIC
from shoal.tune.search.points import FlatSpace, plain_value, score_of
from shoal.tune.search.sample import Domain
from shoal.tune.search.searcher import Searcher
from shoal.tune.search.variant_generator import has_unresolved_values


class AdapterSearcher(Searcher):
    """Subclasses define ``_prepare``, ``_ask`` and ``_tell``; what else a searcher needs is here.

    ``space``: a dictionary of domains, the library's own description of a space, or None for the config of the run.
    Libraries minimize: losses are the metric for mode "min", its negative for "max".
    """

    def __init__(
        self, space: Any, metric: str | None, mode: str | None, points_to_evaluate: list[dict[str, Any]] | None
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        self._points = self.copy_points(points_to_evaluate)
        self._live: dict[str, Any] = {}
        self._space: FlatSpace | None = None
        self._own_space: Any = None  # the library's description
        self._num_samples = -1
        self._is_prepared = False
        if isinstance(space, dict) and has_unresolved_values(space):
            self._space = FlatSpace(space, type(self).__name__)
        elif space:
            self._own_space = space

    @abstractmethod
    def _prepare(self) -> None:
        """Makes the library's optimizer, of ``self._space`` or of ``self._own_space``; mode and metric are known."""

    @abstractmethod
    def _ask(self, point: dict[str, Any] | None) -> tuple[Any, dict[str, Any]] | str | None:
        """A handle for ``_tell`` and values by flat name, those of ``point`` if there is one; None: not now; FINISHED."""

    @abstractmethod
    def _tell(self, handle: Any, loss: float | None, result: dict[str, Any] | None) -> None:
        """What became of a suggestion; ``loss`` is None for a trial that failed or has no finite score."""

    def _prepare_once(self) -> None:
        """Not before something is asked or told: metric, mode and space may come with the run."""
        if not self._is_prepared:
            self._is_prepared = True
            self._prepare()

    @property
    def has_space(self) -> bool:
        return self._space is not None or self._own_space is not None

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        self._metric = self._metric or metric
        self._mode = self._mode or mode
        self._num_samples = spec.get("num_samples", self._num_samples)
        if self.has_space:
            return False
        self._space = FlatSpace(config, type(self).__name__)
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if not self.has_space:
            name = type(self).__name__
            raise RuntimeError(f"{name} needs a space: give it as the config of the run, or as space=...")
        self._prepare_once()
        point = self._next_point()
        asked = self._ask(point)
        if asked is None or isinstance(asked, str):
            return asked
        if point is not None:
            self._points.pop(0)
        handle, values = asked
        self._live[trial_id] = handle
        if self._space is not None:
            return self._space.filled(point or values)
        nested: dict[str, Any] = unflatten_list_dict(plain_value(values))
        return nested

    def _next_point(self) -> dict[str, Any] | None:
        if not self._points:
            return None
        return self._space.flat_point(self._points[0]) if self._space is not None else self._points[0]

    def loss_of(self, result: dict[str, Any] | None) -> float | None:
        score = score_of(result, self.metric or DEFAULT_METRIC)
        return None if score is None else -sign_of(self.mode or "max") * score

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if trial_id in self._live:
            self._tell(self._live.pop(trial_id), None if error else self.loss_of(result), result)

    def get_state(self) -> dict[str, Any]:
        """Everything but modules, which are imported again."""
        return {key: value for key, value in super().get_state().items() if key != "_library"}


def cannot_draw(library: str, name: str, domain: Domain) -> ValueError:
    return ValueError(
        f"{library} does not draw from {type(domain).__name__} with {domain.get_sampler()}, but got it for {name!r}"
    )
