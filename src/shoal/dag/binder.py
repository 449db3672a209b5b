"""Where ``.bind()`` of remote functions, actor classes and actor methods arrives. The one module here that knows the core."""

from __future__ import annotations

from typing import Any

from shoal.core.actor_class import ActorClass
from shoal.core.actor_handle import ActorHandle, ActorMethod
from shoal.core.binding import register_binder
from shoal.core.remote_function import RemoteFunction
from shoal.dag.class_node import ClassMethodNode, ClassNode, MethodOutputNode
from shoal.dag.function_node import FunctionNode
from shoal.dag.node import DAGNode


def bind(what: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> DAGNode | tuple[DAGNode, ...]:
    """The node of one call; for a method with several return values a tuple of one node for each. Raises TypeError for
    what cannot be bound."""
    if isinstance(what, RemoteFunction):
        return FunctionNode(what, what._spec.name, args, kwargs)
    if isinstance(what, ActorClass):
        return ClassNode(what, what._spec.cls, what.__name__, args, kwargs)
    if isinstance(what, ActorMethod):
        call = ClassMethodNode(ActorHandle(what._state), what._spec.name, args, kwargs, method=what)
        returns = what._options.num_returns
        if isinstance(returns, int) and returns > 1:
            return tuple(MethodOutputNode(call, index) for index in range(returns))
        return call
    raise TypeError(f"bind() takes a remote function, an actor class or an actor's method, but got {what!r}")


register_binder(bind)
