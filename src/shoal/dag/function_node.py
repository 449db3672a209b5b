"""A call of a remote function, as a node."""

from __future__ import annotations

from typing import Any

from shoal.dag.input_node import Input
from shoal.dag.node import DAGNode


class FunctionNode(DAGNode):
    """``function.bind(...)``: a task. ``target`` is the remote function, with its options."""

    def __init__(self, target: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__(args, kwargs)
        self._target = target
        self._name = name

    def label(self) -> str:
        return self._name

    def run(self, results: dict[DAGNode, Any], graph_input: Input) -> Any:
        args, kwargs = self.resolved_arguments(results)
        return self._target.remote(*args, **kwargs)
