"""Trainables and environments by name, in this process."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from shoal.tune.error import TuneError
from shoal.tune.trainable.function_trainable import wrap_function
from shoal.tune.trainable.trainable import Trainable

logger = logging.getLogger(__name__)

_trainables: dict[str, type[Trainable]] = {}
_environments: dict[str, Callable[..., Any]] = {}


def register_trainable(name: str, trainable: Any, warn: bool = True) -> None:
    """Makes ``trainable`` (a function of the config, or a subclass of Trainable) known as ``name``; TypeError for anything
    else."""
    if not isinstance(trainable, type) and isinstance(trainable, Trainable):
        raise TypeError(f"trainable must be a class, but got an instance: {trainable!r}")
    _trainables[name] = _as_class(trainable)


def _as_class(trainable: Any) -> type[Trainable]:
    if isinstance(trainable, type):
        if not issubclass(trainable, Trainable):
            raise TypeError(f"a trainable class must be a subclass of tune.Trainable, but got {trainable!r}")
        return trainable
    if callable(trainable):
        return wrap_function(trainable)
    raise TypeError(f"trainable must be a function or a subclass of tune.Trainable, but got {trainable!r}")


def trainable_class_of(run: Any) -> type[Trainable]:
    """The class for whatever a user may run: a function, a class, a name, or an object with ``as_trainable()``."""
    if isinstance(run, str):
        return get_trainable_cls(run)
    if hasattr(run, "as_trainable") and not isinstance(run, type):
        run = run.as_trainable()
    if isinstance(run, type):
        return _as_class(run)
    if isinstance(run, Trainable) or not callable(run):
        raise TuneError(
            f"the trainable must be a function, a subclass of tune.Trainable, or a registered name, but got {run!r}"
        )
    return _as_class(run)


def trainable_name_of(run: Any) -> str:
    """The name that trials and folders carry."""
    if isinstance(run, str):
        return run.replace("/", "_")
    if isinstance(run, partial):
        run = run.func
    name = getattr(run, "_trainable_name", None) or getattr(run, "__name__", None) or type(run).__name__
    return "lambda" if name == "<lambda>" else str(name)


def get_trainable_cls(name: str) -> type[Trainable]:
    """Raises TuneError for a name that nobody registered."""
    if name not in _trainables:
        raise TuneError(f"trainable {name!r} is not registered (tune.register_trainable); known are {sorted(_trainables)}")
    return _trainables[name]


def has_trainable(name: str) -> bool:
    return name in _trainables


def register_env(name: str, env_creator: Callable[..., Any]) -> None:
    """Makes an environment known as ``name``; TypeError when ``env_creator`` cannot be called."""
    if not callable(env_creator):
        raise TypeError(f"env_creator must be callable, but got env_creator={env_creator!r}")
    _environments[name] = env_creator


def get_env_creator(name: str) -> Callable[..., Any]:
    """Raises ValueError for a name that nobody registered."""
    if name not in _environments:
        raise ValueError(f"environment {name!r} is not registered; known are {sorted(_environments)}")
    return _environments[name]


def registered_environments() -> dict[str, Callable[..., Any]]:
    return dict(_environments)


def register_environments(environments: dict[str, Callable[..., Any]]) -> None:
    """What the driver had registered, for a trial's process."""
    _environments.update(environments)


def is_function_trainable(run: Any) -> bool:
    return inspect.isfunction(run) or inspect.ismethod(run) or isinstance(run, partial)
