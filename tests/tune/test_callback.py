"""The list of callbacks."""

from __future__ import annotations

from typing import Any

from shoal import tune
from shoal.tune.callback import CallbackList


class Quiet(tune.Callback):
    """Defines no hook."""


class Named(tune.Callback):
    def __init__(self, name: str, said: list[str]) -> None:
        self.name, self.said = name, said

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.said.append(self.name)


class Further(Named):
    """Inherits its hook."""


def test_each_callback_that_defines_a_hook_is_called_in_turn_however_it_defines_it() -> None:
    said: list[str] = []
    patched = Quiet()
    patched.on_trial_complete = lambda **arguments: said.append("set on the object")  # type: ignore[method-assign]
    callbacks = CallbackList([Named("own", said), Quiet(), patched, Further("inherited", said)])
    for _ in range(2):
        callbacks.call("on_trial_complete", iteration=1, trials=[], trial=None)
        callbacks.on_step_end(iteration=1, trials=[])
    assert said == ["own", "set on the object", "inherited"] * 2
