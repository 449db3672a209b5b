"""Which checkpoints of a trial are kept."""

from __future__ import annotations

from typing import Any

from shoal.tune.checkpoint import Checkpoint
from shoal.tune.flatten import flatten_dict
from shoal.tune.run_config import CheckpointConfig


class CheckpointManager:
    """Keeps the best ``num_to_keep`` checkpoints, and always the latest, which a restart needs."""

    __slots__ = ("config", "kept", "latest", "next_index")

    def __init__(self, config: CheckpointConfig) -> None:
        self.config = config
        self.kept: list[tuple[Checkpoint, dict[str, Any]]] = []
        self.latest: tuple[Checkpoint, dict[str, Any]] | None = None
        self.next_index = 0

    def add(self, checkpoint: Checkpoint, metrics: dict[str, Any]) -> list[Checkpoint]:
        """Registers ``checkpoint`` as the latest; returns those that are to be deleted."""
        self.next_index += 1
        self.latest = (checkpoint, metrics)
        self.kept.append(self.latest)
        self.kept.sort(key=self._score)
        dropped: list[Checkpoint] = []
        keep = self.config.num_to_keep
        while keep is not None and len(self.kept) > keep:
            worst = next(item for item in self.kept if item is not self.latest or keep == 0)
            self.kept.remove(worst)
            dropped.append(worst[0])
        return dropped

    def _score(self, item: tuple[Checkpoint, dict[str, Any]]) -> tuple[int, float]:
        attribute = self.config.checkpoint_score_attribute
        if attribute is None:
            return (0, 0.0)  # the sort is stable: order of arrival
        value = flatten_dict(item[1]).get(attribute)
        if not isinstance(value, (int, float)) or value != value:
            return (0, 0.0)  # without a score: worse than any with one
        return (1, float(value) if self.config.checkpoint_score_order != "min" else -float(value))

    def best(self, metric: str, mode: str) -> Checkpoint | None:
        scored = [(flatten_dict(metrics).get(metric), checkpoint) for checkpoint, metrics in self.kept]
        numbers = [(value, checkpoint) for value, checkpoint in scored if isinstance(value, (int, float)) and value == value]
        if not numbers:
            return None
        return (max if mode == "max" else min)(numbers, key=lambda item: item[0])[1]
