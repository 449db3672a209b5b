"""A small trainable for tests."""

from __future__ import annotations

import json
import math
import os
from typing import Any

from shoal.tune.registry import register_trainable
from shoal.tune.trainable.trainable import Trainable

MOCK_TRAINABLE_NAME = "mock_trainable"
MOCK_ERROR_KEY = "mock_error"


class MyTrainableClass(Trainable):
    """Reports a curve that ``width`` and ``height`` of its config shape."""

    def setup(self, config: dict[str, Any]) -> None:
        self._timestep = 0

    def step(self) -> dict[str, Any]:
        if self.config.get(MOCK_ERROR_KEY):
            raise RuntimeError("mock error")
        self._timestep += 1
        score = math.tanh(float(self._timestep) / self.config.get("width", 1)) * self.config.get("height", 1)
        return {"episode_reward_mean": score, "timesteps_this_iter": 1}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        with open(os.path.join(checkpoint_dir, "checkpoint"), "w", encoding="utf-8") as file:
            json.dump({"timestep": self._timestep}, file)

    def load_checkpoint(self, checkpoint: Any) -> None:
        with open(os.path.join(checkpoint, "checkpoint"), encoding="utf-8") as file:
            self._timestep = json.load(file)["timestep"]


def register_mock_trainable() -> None:
    register_trainable(MOCK_TRAINABLE_NAME, MyTrainableClass)
