"""Running a graph once: every node after its children."""

from __future__ import annotations

from typing import Any

from shoal.dag.input_node import Input, InputNode
from shoal.dag.node import DAGNode, in_order


def execute(root: DAGNode, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What ``root`` gives. Raises ValueError when the input does not fit the graph."""
    order = in_order(root)
    graph_input = Input(args, kwargs)
    check_input(order, graph_input)
    results: dict[DAGNode, Any] = {}
    for node in order:
        results[node] = node.run(results, graph_input)
    return results[root]


def check_input(order: list[DAGNode], graph_input: Input) -> None:
    """Raises ValueError when the graph takes an input and none is given, or the other way round."""
    takes_input = any(isinstance(node, InputNode) for node in order)
    if takes_input and graph_input.empty:
        raise ValueError("the graph has an InputNode, but execute() was called without arguments")
    if not takes_input and not graph_input.empty:
        raise ValueError(
            "the graph has no InputNode, but execute() was called with "
            f"args={graph_input.args!r}, kwargs={graph_input.kwargs!r}"
        )
