"""Pictures of graphs, in the DOT language of Graphviz."""

from __future__ import annotations

from pathlib import Path

from shoal.dag.node import DAGNode, in_order


def plot(dag: DAGNode, to_file: str) -> None:
    """Writes the graph to ``to_file``, a .dot file that Graphviz turns into a picture. Raises ValueError for other names."""
    if Path(to_file).suffix != ".dot":
        raise ValueError(f"to_file must end in .dot (Graphviz draws it: dot -Tpng graph.dot), but got to_file={to_file!r}")
    Path(to_file).write_text(as_dot(dag))


def as_dot(root: DAGNode) -> str:
    """The graph in the DOT language: an arrow from each node to those that use it."""
    order = in_order(root)
    names = {node: f"n{index}" for index, node in enumerate(order)}
    lines = ["digraph {"]
    lines += [f"  {name} [label={_quoted(node.label())}];" for node, name in names.items()]
    for node in order:
        # Each arrow once, also when a node is used twice.
        lines += [f"  {names[child]} -> {names[node]};" for child in dict.fromkeys(node.children())]
    return "\n".join([*lines, "}", ""])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
