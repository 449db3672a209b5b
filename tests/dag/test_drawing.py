from __future__ import annotations

import sys
from pathlib import Path

import pytest

from shoal.dag import drawing
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


def test_plot_writes_dot_files_itself(tmp_path: Path) -> None:
    plot(graph(), str(tmp_path / "graph.dot"))
    assert (tmp_path / "graph.dot").read_text() == as_dot(graph())


def test_other_files_are_drawn_by_graphviz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "dot"
    program.write_text('#!/bin/sh\n[ "$1" = -Tpng ] || { echo "no such format" >&2; exit 1; }\necho drawn; cat\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for name in ("graph.png", "graph"):
        plot(graph(), str(tmp_path / name))
        assert (tmp_path / name).read_text() == "drawn\n" + as_dot(graph())
    with pytest.raises(ValueError, match="Graphviz does not draw .odd files: no such format"):
        plot(graph(), str(tmp_path / "graph.odd"))


def test_what_is_missing_for_drawing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImportError, match="drawing a .png needs the program dot of Graphviz"):
        plot(graph())
    monkeypatch.setattr(drawing, "_drawn", lambda source, kind: b"picture")
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(ImportError, match="without to_file .* needs IPython"):
        plot(graph())
