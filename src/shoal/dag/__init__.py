"""Graphs of tasks and actor calls: built with ``.bind()``, run with ``.execute()``, or compiled and run many times."""

from __future__ import annotations

# Imported for its effect: from now on .bind() makes the nodes of this package.
from shoal.dag import binder as _binder
from shoal.dag.class_node import ClassMethodNode, ClassNode
from shoal.dag.compiled import CompiledDAG
from shoal.dag.compiled_ref import CompiledDAGFuture, CompiledDAGRef
from shoal.dag.context import DAGContext
from shoal.dag.drawing import plot
from shoal.dag.function_node import FunctionNode
from shoal.dag.input_node import DAGInputData, InputAttributeNode, InputNode
from shoal.dag.node import DAGNode
from shoal.dag.output_node import MultiOutputNode

__all__ = [
    "ClassMethodNode",
    "ClassNode",
    "CompiledDAG",
    "CompiledDAGFuture",
    "CompiledDAGRef",
    "DAGContext",
    "DAGInputData",
    "DAGNode",
    "FunctionNode",
    "InputAttributeNode",
    "InputNode",
    "MultiOutputNode",
    "plot",
]
