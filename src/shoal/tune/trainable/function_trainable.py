"""The function form of a trainable: it runs in a thread of the trial's actor."""

from __future__ import annotations

import inspect
import threading
import traceback
from collections.abc import Callable
from typing import Any

from shoal.tune.execution.placement_groups import PlacementGroupFactory, as_placement_group_factory
from shoal.tune.result import DONE
from shoal.tune.trainable.session import Session, as_metrics, bind_session, end_trial, set_session
from shoal.tune.trainable.trainable import Trainable
from shoal.tune.trainable.trial_information import TrialInformation
from shoal.util.signatures import signature_of


class FunctionTrainable(Trainable):
    """Runs ``_function(config)``; made by ``wrap_function``."""

    is_function = True
    _function: Callable[..., Any]

    def setup(self, config: dict[str, Any]) -> None:
        self._session: Session | None = None
        self._thread: threading.Thread | None = None
        self._pending: list[tuple[Any, ...]] = []
        self._last: dict[str, Any] = {}

    def next_messages(self) -> list[tuple[Any, ...]]:
        """What the function has to say, at least one of ("result", metrics, checkpoint), ("done",), ("error", exception,
        text)."""
        if self._session is None:
            self._start()
        assert self._session is not None
        return self._session.take()

    def _start(self) -> None:
        self._session = Session(self._information, self.complete)
        set_session(self._session)
        self._thread = threading.Thread(target=self._run, args=(self._session,), name="trainable", daemon=True)
        self._thread.start()

    def _run(self, session: Session) -> None:
        bind_session(session)
        try:
            returned = type(self)._function(dict(self.config))
            if not inspect.isgenerator(returned):
                end_trial(failed=False)
                _report_last(session, returned)
                return
            for item in returned:
                metrics = as_metrics(item)
                if metrics is not None:
                    session.report(metrics)
            end_trial(failed=False)
            session.post("done")
        except SystemExit as stopped:
            end_trial(failed=False)
            if stopped.code not in (None, 0, "the trial was stopped"):
                session.post("error", RuntimeError(f"the trainable left with {stopped!r}"), traceback.format_exc())
            else:
                session.post("done")
        except BaseException as error:
            text = traceback.format_exc()
            end_trial(failed=True)
            session.post("error", error, text)

    def step(self) -> dict[str, Any]:
        raise NotImplementedError("a function trainable has no steps of its own: call train")

    def train(self) -> dict[str, Any]:
        """The next result; after the last one, that one again with ``done=True``. Raises what the function raised."""
        while True:
            if not self._pending:
                self._pending = self.next_messages()
            message = self._pending.pop(0)
            if message[0] == "error":
                raise message[1]
            if message[0] == "done":
                return {**(self._last or self.complete({})), DONE: True}
            self._last = message[1]
            return dict(self._last)

    def save_checkpoint(self, checkpoint_dir: str) -> str | None:
        if self._session is not None and self._session.checkpoint is not None:
            self._session.checkpoint.to_directory(checkpoint_dir)
        return None

    def load_checkpoint(self, checkpoint: Any) -> None:
        raise NotImplementedError("a function trainable reads its checkpoint with tune.get_checkpoint()")

    def restore(self, checkpoint: Any) -> None:
        from shoal.tune.checkpoint import Checkpoint

        self._information.checkpoint = Checkpoint(checkpoint) if isinstance(checkpoint, str) else checkpoint
        if self._information.counters:
            self.set_counters(self._information.counters)

    def reset(self, new_config: dict[str, Any], information: TrialInformation) -> bool:
        self.stop()
        self.config = new_config
        self._information = information
        self.set_counters({})
        self.setup(new_config)
        return True

    def stop(self) -> None:
        """Ends the function at its next report, and waits for that as long as it is short."""
        if self._session is not None and self._thread is not None:
            self._session.stop()
            self._thread.join(timeout=1.0)
        set_session(None)

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()


def _report_last(session: Session, returned: Any) -> None:
    metrics = as_metrics(returned)
    if metrics is None:
        session.post("done")
    else:
        session.report_last(metrics)


def wrap_function(function: Callable[..., Any], warn: bool = True, name: str | None = None) -> type[FunctionTrainable]:
    """A Trainable class that runs ``function``; raises ValueError when it cannot be called with the config alone."""
    _check_signature(function)
    resources = getattr(function, "_resources", None)

    def default_resource_request(cls: type, config: dict[str, Any]) -> PlacementGroupFactory | None:
        return as_placement_group_factory(resources, config)

    function_name = name or getattr(function, "__name__", None) or "function"
    return type(
        function_name,
        (FunctionTrainable,),
        {
            "_function": staticmethod(function),
            "_trainable_name": function_name,
            "default_resource_request": classmethod(default_resource_request),
            "__module__": FunctionTrainable.__module__,
        },
    )


def _check_signature(function: Callable[..., Any]) -> None:
    try:
        signature = signature_of(function)
    except (TypeError, ValueError):
        return  # a builtin: nothing to check
    try:
        signature.bind({})
    except TypeError as error:
        raise ValueError(
            f"a trainable function must take the config and nothing else that has no default, but got {function!r} "
            f"with signature {signature} ({error}); use tune.with_parameters for further arguments"
        ) from None


def copy_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """A wrapper that attributes can be set on without touching the user's function."""

    def call(config: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        return function(config, *args, **kwargs)

    call.__name__ = getattr(function, "__name__", type(function).__name__)

    call.__dict__.update(getattr(function, "__dict__", {}))
    return call
