"""A searcher whose suggestions are each tried several times, for noisy objectives."""

from __future__ import annotations

import math
from typing import Any

from shoal.tune.search.search_generator import set_search_properties_backwards_compatible
from shoal.tune.search.searcher import Searcher

TRIAL_INDEX = "__trial_index__"


class _Group:
    def __init__(self, primary: str, config: dict[str, Any]) -> None:
        self.primary = primary
        self.config = config
        self.scores: dict[str, float | None] = {primary: None}
        self.ended: set[str] = set()


class Repeater(Searcher):
    """Tries each suggestion of ``searcher`` ``repeat`` times and tells it the mean of the scores.

    With ``set_index`` the configurations hold ``__trial_index__``, from 0 to ``repeat`` - 1.
    """

    def __init__(self, searcher: Searcher, repeat: int = 1, set_index: bool = True) -> None:
        if repeat < 1:
            raise ValueError(f"repeat must be >= 1, but got repeat={repeat}")
        self.searcher = searcher
        self.repeat = repeat
        self._set_index = set_index
        self._groups: list[_Group] = []
        self._group_of: dict[str, _Group] = {}
        super().__init__(metric=searcher.metric, mode=searcher.mode)

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        taken = set_search_properties_backwards_compatible(self.searcher.set_search_properties, metric, mode, config, **spec)
        self._metric, self._mode = self.searcher.metric, self.searcher.mode
        return taken

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        return False

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if not self._groups or len(self._groups[-1].scores) == self.repeat:
            suggestion = self.searcher.suggest(trial_id)
            if suggestion is None or isinstance(suggestion, str):
                return suggestion
            self._groups.append(_Group(trial_id, suggestion))
        group = self._groups[-1]
        group.scores.setdefault(trial_id, None)
        self._group_of[trial_id] = group
        config = dict(group.config)
        if self._set_index:
            config[TRIAL_INDEX] = len(group.scores) - 1
        return config

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        group = self._group_of.pop(trial_id, None)
        if group is None:
            return
        group.ended.add(trial_id)
        if result and not error and self.metric in result:
            group.scores[trial_id] = result[self.metric]
        if len(group.ended) < self.repeat:
            return
        scores = [score for score in group.scores.values() if score is not None and not math.isnan(score)]
        self._groups.remove(group)
        mean = {**(result or {}), self.metric: sum(scores) / len(scores)} if scores else None
        self.searcher.on_trial_complete(group.primary, result=mean, error=not scores)

    def get_state(self) -> dict[str, Any]:
        own = {"repeat": self.repeat, "set_index": self._set_index, "groups": self._groups, "group_of": self._group_of}
        return {"searcher": self.searcher.get_state(), **own}

    def set_state(self, state: dict[str, Any]) -> None:
        self.searcher.set_state(state["searcher"])
        self.repeat, self._set_index = state["repeat"], state["set_index"]
        self._groups, self._group_of = state["groups"], state["group_of"]
