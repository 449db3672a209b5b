"""The list of callbacks."""

from __future__ import annotations

from typing import Any

import pytest

from shoal import tune
from shoal.tune.callback import CallbackList
from shoal.tune.logger import CSVLoggerCallback, JsonLoggerCallback
from shoal.tune.setup_run import prepare_callbacks


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


def test_classes_that_the_environment_names_are_callbacks_of_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    monkeypatch.setenv("RAY_TUNE_CALLBACKS", "shoal.tune.logger.CSVLoggerCallback, ,shoal.tune.logger.JsonLoggerCallback")
    quiet = Quiet()
    assert [type(one) for one in prepare_callbacks([quiet])._callbacks] == [CSVLoggerCallback, JsonLoggerCallback, Quiet]
    for name, message in (
        ("there.is.nothing.Such", "'there.is.nothing.Such' cannot be made: No module named 'there'"),
        ("shoal.tune.NoCallback", "'shoal.tune.NoCallback' cannot be made: .*NoCallback"),
        ("short", "'short' cannot be made"),
        ("pathlib.Path", "must name classes of tune.Callback, but 'pathlib.Path' is a "),
    ):
        monkeypatch.setenv("RAY_TUNE_CALLBACKS", name)
        with pytest.raises(ValueError, match=message):
            prepare_callbacks([])
