"""What actors answer to besides their own methods. A worker runs these as it runs methods, with the instance first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shoal.core.actor_exit import ActorTerminated

if TYPE_CHECKING:
    from collections.abc import Callable


def ray_ready(instance: Any) -> bool:
    """``__ray_ready__``: True, once the constructor is done."""
    return True


def ray_call(instance: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``__ray_call__``: ``function(instance, ...)`` in the actor."""
    return function(instance, *args, **kwargs)


def ray_terminate(instance: Any) -> None:
    """``__ray_terminate__``: the actor ends when the calls before this one are done."""
    raise ActorTerminated("__ray_terminate__ was called.")


BUILT_INS: dict[str, Callable[..., Any]] = {
    "__ray_ready__": ray_ready,
    "__ray_call__": ray_call,
    "__ray_terminate__": ray_terminate,
}
