"""One chunk of a pool's work: running it in an actor, and carrying the errors home as they were raised."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any

import cloudpickle

Call = tuple[Sequence[Any], dict[str, Any]]
"""Positional and keyword arguments of one call."""


class RemoteTraceback(Exception):
    """The cause of an error that a pool raises: where it happened, in the actor."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class PoolError(Exception):
    """Stands for an exception that cannot be sent back; carries its type's name and text."""


class CallFailed:
    """The outcome of a call that raised. A class of its own, because exceptions are also values that functions return."""

    def __init__(self, error: BaseException, traceback_text: str) -> None:
        self.error = error
        self.traceback_text = traceback_text

    def with_cause(self) -> BaseException:
        """The original exception, with the remote traceback as its cause."""
        if self.error.__cause__ is None:
            # Pickling drops the traceback and the cause of an exception.
            self.error.__cause__ = RemoteTraceback(self.traceback_text)
        return self.error


class PoolActor:
    """One process of a pool."""

    def __init__(self, initializer: Callable[..., Any] | None, initargs: Sequence[Any]) -> None:
        if initializer is not None:
            initializer(*initargs)

    def ready(self) -> None:
        """Returns once the initializer has run."""

    def run(self, func: Callable[..., Any], calls: Sequence[Call]) -> list[Any]:
        """The value of every call, or CallFailed. One failed call does not stop the others."""
        return [_outcome(func, args, kwargs) for args, kwargs in calls]


def _outcome(func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    try:
        return func(*args, **kwargs)
    except Exception as error:
        text = traceback.format_exc()
        return CallFailed(error if _can_travel(error) else PoolError(f"{type(error).__name__}: {error}"), text)


def _can_travel(error: Exception) -> bool:
    # Exceptions whose __init__ takes other arguments than ``args`` pickle well and fail when they are loaded.
    try:
        cloudpickle.loads(cloudpickle.dumps(error))
    except Exception:
        return False
    return True
