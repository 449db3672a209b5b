"""Pictures of graphs, in the DOT language of Graphviz."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from shoal.dag.node import DAGNode, in_order


def plot(dag: DAGNode, to_file: str | None = None) -> Any:
    """Draws the graph into ``to_file``: a ``.dot`` file as text, others (``.png``, ``.svg``, ``.pdf``, ...; without suffix
    ``.png`` is meant) with Graphviz. Without ``to_file`` returns the picture, for a notebook to show.

    Raises ImportError when the program ``dot`` of Graphviz is missing, or IPython for a notebook; ValueError when Graphviz does
    not know the suffix.
    """
    source = as_dot(dag)
    if to_file is None:
        return _notebook_image(_drawn(source, "png"))
    kind = Path(to_file).suffix.removeprefix(".") or "png"
    Path(to_file).write_bytes(source.encode() if kind == "dot" else _drawn(source, kind))
    return None


def _drawn(source: str, kind: str) -> bytes:
    program = shutil.which("dot")
    if program is None:
        raise ImportError(f"drawing a .{kind} needs the program dot of Graphviz; plot(dag, to_file='graph.dot') does not")
    done = subprocess.run([program, f"-T{kind}"], input=source.encode(), capture_output=True, check=False)
    if done.returncode:
        raise ValueError(f"Graphviz does not draw .{kind} files: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _notebook_image(picture: bytes) -> Any:
    try:
        from IPython.display import Image  # type: ignore[import-not-found,unused-ignore]  # optional
    except ImportError as error:
        raise ImportError("plot() without to_file shows the graph in a notebook, and needs IPython") from error
    return Image(data=picture)


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
