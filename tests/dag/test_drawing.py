from __future__ import annotations

from pathlib import Path

import pytest

from shoal.dag.drawing import as_dot, plot
from shoal.dag.function_node import FunctionNode
from shoal.dag.input_node import InputNode


def graph() -> FunctionNode:
    with InputNode() as inp:
        doubled = FunctionNode(None, "double", (inp.x,), {})
        return FunctionNode(None, 'say "sum"', (doubled, doubled), {})


def test_each_node_and_arrow_is_drawn_once() -> None:
    assert as_dot(graph()).splitlines() == [
        "digraph {",
        '  n0 [label="input"];',
        '  n1 [label="input.x"];',
        '  n2 [label="double"];',
        '  n3 [label="say \\"sum\\""];',
        "  n0 -> n1;",
        "  n1 -> n2;",
        "  n2 -> n3;",
        "}",
    ]


def test_plot_writes_dot_files_only(tmp_path: Path) -> None:
    plot(graph(), str(tmp_path / "graph.dot"))
    assert (tmp_path / "graph.dot").read_text().startswith("digraph {")
    with pytest.raises(ValueError, match="to_file must end in .dot"):
        plot(graph(), str(tmp_path / "graph.png"))
