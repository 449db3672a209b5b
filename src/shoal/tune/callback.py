"""Hooks into a run."""

from __future__ import annotations

import glob
import os
import pickle
from typing import Any

import cloudpickle


class Callback:
    """Subclass it and pass instances as ``callbacks``. All hooks are called in the driver, from one thread; the run waits for
    them.

    A stateful callback defines ``get_state`` and ``set_state``.
    """

    def setup(
        self, stop: Any = None, num_samples: int | None = None, total_num_samples: int | None = None, **info: Any
    ) -> None:
        """Before the first trial."""

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Before events are handled."""

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """After events were handled."""

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial was started."""

    def on_trial_restore(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial goes on from a checkpoint."""

    def on_trial_save(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial was asked for a checkpoint."""

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        """A trial has reported ``result``."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has ended well."""

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial failed and is tried again."""

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has failed for good."""

    def on_checkpoint(self, iteration: int, trials: list[Any], trial: Any, checkpoint: Any, **info: Any) -> None:
        """A checkpoint was stored."""

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """After the last trial."""

    def get_state(self) -> dict[str, Any] | None:
        """What a resumed run needs; None when there is nothing."""
        return None

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes what ``get_state`` returned."""


class CallbackList(Callback):
    """Calls several callbacks in their order."""

    CKPT_FILE_TMPL = "callback-states-{}.pkl"
    IS_CALLBACK_CONTAINER = True

    def __init__(self, callbacks: list[Callback]) -> None:
        self._callbacks = callbacks
        self._that_define: dict[str, list[Callback]] = {}

    def call(self, hook: str, **arguments: Any) -> None:
        callbacks = self._that_define.get(hook)
        if callbacks is None:
            callbacks = self._that_define[hook] = [one for one in self._callbacks if _defines(one, hook)]
        for callback in callbacks:
            getattr(callback, hook)(**arguments)

    def setup(self, **info: Any) -> None:  # type: ignore[override]
        self.call("setup", **info)

    def on_step_begin(self, **info: Any) -> None:  # type: ignore[override]
        self.call("on_step_begin", **info)

    def on_step_end(self, **info: Any) -> None:  # type: ignore[override]
        self.call("on_step_end", **info)

    def on_trial_start(self, **info: Any) -> None:  # type: ignore[override]
        self.call("on_trial_start", **info)

    def on_trial_restore(self, **info: Any) -> None:  # type: ignore[override]
        self.call("on_trial_restore", **info)

    def on_trial_save(self, **info: Any) -> None:  # type: ignore[override]
        self.call("on_trial_save", **info)

    def on_trial_result(self, **info: Any) -> None:  # type: ignore[override]
        self.call("on_trial_result", **info)

    def on_trial_complete(self, **info: Any) -> None:  # type: ignore[override]
        self.call("on_trial_complete", **info)

    def on_trial_recover(self, **info: Any) -> None:  # type: ignore[override]
        self.call("on_trial_recover", **info)

    def on_trial_error(self, **info: Any) -> None:  # type: ignore[override]
        self.call("on_trial_error", **info)

    def on_checkpoint(self, **info: Any) -> None:  # type: ignore[override]
        self.call("on_checkpoint", **info)

    def on_experiment_end(self, **info: Any) -> None:  # type: ignore[override]
        self.call("on_experiment_end", **info)

    def get_state(self) -> dict[str, Any] | None:
        """The states by position, None when no callback has one."""
        states = {}
        for index, callback in enumerate(self._callbacks):
            state = callback.get_state()
            if state is not None:
                states[str(index)] = state
        return states or None

    def set_state(self, state: dict[str, Any]) -> None:
        for index, callback in enumerate(self._callbacks):
            if str(index) in state:
                callback.set_state(state[str(index)])

    def can_restore(self, checkpoint_dir: str) -> bool:
        return bool(self._files(checkpoint_dir))

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Writes the states to one file; nothing when no callback has one."""
        state = self.get_state()
        if state is None:
            return
        target = os.path.join(checkpoint_dir, self.CKPT_FILE_TMPL.format(session_str))
        with open(target + ".tmp", "wb") as file:
            cloudpickle.dump(state, file)
        os.replace(target + ".tmp", target)

    def restore_from_dir(self, checkpoint_dir: str) -> None:
        files = self._files(checkpoint_dir)
        if not files:
            raise RuntimeError(f"no callback states in {checkpoint_dir}")
        with open(max(files, key=os.path.getmtime), "rb") as file:
            self.set_state(pickle.load(file))

    def _files(self, checkpoint_dir: str) -> list[str]:
        return glob.glob(os.path.join(checkpoint_dir, self.CKPT_FILE_TMPL.format("*")))


def _defines(callback: Any, hook: str) -> bool:
    """Whether the hook is more than the one of ``Callback``, which does nothing."""
    method = getattr(callback, hook)
    return getattr(method, "__func__", method) is not getattr(Callback, hook)
