"""Actors and calls of their methods, as nodes."""

from __future__ import annotations

from typing import Any

from shoal.dag.input_node import Input, InputNode
from shoal.dag.node import DAGNode, in_order


class ClassNode(DAGNode):
    """``Class.bind(...)``: an actor that each execution makes anew. ``node.method.bind(...)`` calls its methods.

    Calls run in the order in which they were bound: executing one also makes the calls that were bound before it.
    Raises ValueError when an argument comes from InputNode.
    """

    def __init__(self, target: Any, cls: type | None, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__(args, kwargs)
        self._target = target
        self._cls = cls
        self._name = name
        self._last_call: ClassMethodNode | None = None
        if any(isinstance(node, InputNode) for node in in_order(self)):
            raise ValueError(
                f"the constructor of {name} must not depend on InputNode: the input is there only when the graph is executed"
            )

    def label(self) -> str:
        return self._name

    def run(self, results: dict[DAGNode, Any], graph_input: Input) -> Any:
        args, kwargs = self.resolved_arguments(results)
        return self._target.remote(*args, **kwargs)

    def __getattr__(self, name: str) -> UnboundMethod:
        if name.startswith("_") and not name.startswith("__ray_"):
            raise AttributeError(name)
        if name == "bind":
            raise AttributeError(f"{self._name} is bound already: .bind() must not be called on {self!r}")
        if self._cls is not None and not hasattr(self._cls, name) and not name.startswith("__ray_"):
            raise AttributeError(f"{self._name} has no method {name!r}")
        return UnboundMethod(self, name, {})


class UnboundMethod:
    """A method of a ClassNode that waits for its arguments."""

    def __init__(self, actor: ClassNode, name: str, options: dict[str, Any]) -> None:
        self._actor = actor
        self._name = name
        self._options = options

    def options(self, **options: Any) -> UnboundMethod:
        return UnboundMethod(self._actor, self._name, {**self._options, **options})

    def bind(self, *args: Any, **kwargs: Any) -> ClassMethodNode:
        node = ClassMethodNode(self._actor, self._name, args, kwargs, self._options, after=self._actor._last_call)
        self._actor._last_call = node
        return node

    def __getattr__(self, name: str) -> Any:
        if name == "remote":
            raise AttributeError(f"{self._name} belongs to an actor that does not exist yet: use .bind() instead of .remote()")
        raise AttributeError(name)


class ClassMethodNode(DAGNode):
    """A call of an actor's method.

    ``actor`` is a ClassNode, or the handle of an actor that exists; then ``method`` is its method with the call's options. Of a
    ClassNode, ``options`` are the call's options and ``after`` is the call that was bound before.
    """

    def __init__(
        self,
        actor: Any,
        method_name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: dict[str, Any] | None = None,
        after: ClassMethodNode | None = None,
        method: Any = None,
    ) -> None:
        super().__init__(args, kwargs)
        self._actor = actor
        self._method_name = method_name
        self._options = options or {}
        self._after = after
        self.method = method

    def get_method_name(self) -> str:
        return self._method_name

    def get_options(self) -> dict[str, Any]:
        return dict(self._options)

    def actor_handle(self) -> Any | None:
        """The handle when the actor exists, else None."""
        return None if isinstance(self._actor, ClassNode) else self._actor

    def children(self) -> list[DAGNode]:
        before: list[DAGNode] = [self._actor] if isinstance(self._actor, ClassNode) else []
        if self._after is not None:
            before.append(self._after)
        return before + super().children()

    def label(self) -> str:
        return self._method_name

    def run(self, results: dict[DAGNode, Any], graph_input: Input) -> Any:
        args, kwargs = self.resolved_arguments(results)
        return self._method(results).remote(*args, **kwargs)

    def _method(self, results: dict[DAGNode, Any]) -> Any:
        if self.method is not None:
            return self.method
        method = getattr(results[self._actor], self._method_name)
        return method.options(**self._options) if self._options else method


class MethodOutputNode(DAGNode):
    """One of several return values of a method call."""

    def __init__(self, call: ClassMethodNode, index: int) -> None:
        super().__init__()
        self.call = call
        self.index = index

    def children(self) -> list[DAGNode]:
        return [self.call]

    def label(self) -> str:
        return f"return {self.index}"

    def run(self, results: dict[DAGNode, Any], graph_input: Input) -> Any:
        return results[self.call][self.index]
