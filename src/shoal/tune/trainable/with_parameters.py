"""Trainables with large parameters, or with resources, attached."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import shoal
from shoal.tune.execution.placement_groups import PlacementGroupFactory, as_placement_group_factory
from shoal.tune.trainable.function_trainable import copy_function
from shoal.tune.trainable.trainable import Trainable


def with_parameters(trainable: Any, **kwargs: Any) -> Any:
    """``trainable`` that is also given ``kwargs``, which go through the object store once, however many trials there are.

    A function is called as ``trainable(config, **kwargs)``, a class's ``setup`` likewise. Object refs are taken as they are.
    Raises ValueError for anything that is neither function nor class.
    """
    if not callable(trainable) or (isinstance(trainable, type) and not issubclass(trainable, Trainable)):
        raise ValueError(f"with_parameters needs a function or a subclass of tune.Trainable, but got {trainable!r}")
    references = {name: value if isinstance(value, shoal.ObjectRef) else shoal.put(value) for name, value in kwargs.items()}
    if isinstance(trainable, type):
        return _class_with_parameters(trainable, references)

    def call(config: dict[str, Any]) -> Any:
        return trainable(config, **_values(references))

    call.__name__ = getattr(trainable, "__name__", type(trainable).__name__)
    if hasattr(trainable, "_resources"):
        call._resources = trainable._resources  # type: ignore[attr-defined]
    return call


def _values(references: dict[str, Any]) -> dict[str, Any]:
    return dict(zip(references, shoal.get(list(references.values())), strict=True))


def _class_with_parameters(trainable: type[Trainable], references: dict[str, Any]) -> type[Trainable]:
    def setup(self: Any, config: dict[str, Any]) -> None:
        trainable.setup(self, config, **_values(references))

    return type(trainable.__name__, (trainable,), {"setup": setup, "__module__": trainable.__module__})


def with_resources(trainable: Any, resources: Any) -> Any:
    """``trainable`` whose trials ask for ``resources``: a dictionary like ``{"cpu": 2}``, a PlacementGroupFactory, or a
    function of the config that returns one of them."""
    if not callable(resources):
        resources = as_placement_group_factory(resources)
    if isinstance(trainable, type):

        def default_resource_request(cls: type, config: dict[str, Any]) -> PlacementGroupFactory | None:
            return as_placement_group_factory(resources, config)

        namespace = {
            "default_resource_request": classmethod(default_resource_request),
            "__module__": trainable.__module__,
        }
        return type(trainable.__name__, (trainable,), namespace)
    if not callable(trainable):
        raise ValueError(f"with_resources needs a function or a subclass of tune.Trainable, but got {trainable!r}")
    wrapped: Callable[..., Any] = copy_function(_unbound(trainable))
    wrapped._resources = resources  # type: ignore[attr-defined]
    return wrapped


def _unbound(trainable: Callable[..., Any]) -> Callable[..., Any]:
    """Attributes cannot be set on bound methods and partials: give them a function."""
    if hasattr(trainable, "__func__") or isinstance(trainable, functools.partial):

        def call(config: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            return trainable(config, *args, **kwargs)

        inner = getattr(trainable, "__func__", getattr(trainable, "func", None))
        call.__name__ = getattr(inner, "__name__", "function")
        return call
    return trainable
