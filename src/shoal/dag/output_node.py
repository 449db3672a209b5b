"""Several results of one graph."""

from __future__ import annotations

from typing import Any

from shoal.dag.input_node import Input
from shoal.dag.node import DAGNode


class MultiOutputNode(DAGNode):
    """``MultiOutputNode([a, b])``: executing it returns the list of the results of its nodes."""

    def __init__(self, args: list[Any] | tuple[Any, ...]) -> None:
        if not isinstance(args, (list, tuple)):
            raise ValueError(f"args must be a list or tuple of nodes, but got args={args!r}")
        super().__init__(tuple(args))

    def label(self) -> str:
        return "outputs"

    def run(self, results: dict[DAGNode, Any], graph_input: Input) -> Any:
        args, _ = self.resolved_arguments(results)
        return list(args)
