"""What a graph is given when it is executed."""

from __future__ import annotations

from typing import Any

from shoal.dag.node import DAGNode


class DAGInputData:
    """The input of an execution with several arguments: positional ones by index, keyword ones by name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._args = args
        self._kwargs = kwargs

    def __getitem__(self, key: int | str) -> Any:
        return self._args[key] if isinstance(key, int) else self._kwargs[key]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._kwargs:
            raise AttributeError(f"the graph was executed without an input named {name!r}")
        return self._kwargs[name]


class Input:
    """The arguments of one execution."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args = args
        self.kwargs = kwargs

    @property
    def empty(self) -> bool:
        return not self.args and not self.kwargs

    def whole(self) -> Any:
        """What InputNode stands for: the one argument itself, or all of them as DAGInputData."""
        if len(self.args) == 1 and not self.kwargs:
            return self.args[0]
        return DAGInputData(*self.args, **self.kwargs)


class InputNode(DAGNode):
    """Stands for the arguments of ``execute``.

    >>> with InputNode() as inp:
    ...     graph = add.bind(inp[0], inp.y)
    >>> shoal.get(graph.execute(1, y=2))
    3

    Executed with one argument, the node is that argument, and ``inp[key]`` and ``inp.name`` are its items and attributes. With
    several, they are the arguments: positional ones by index, keyword ones by name.
    """

    def __init__(self) -> None:
        super().__init__()
        self._attributes: dict[tuple[int | str, bool], InputAttributeNode] = {}

    def __enter__(self) -> InputNode:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Ends nothing: the block only shows where the graph is built."""

    def __getitem__(self, key: int | str) -> InputAttributeNode:
        if not isinstance(key, (int, str)):
            raise ValueError(f"an input is an int or a str, but got inp[{key!r}]")
        return self._attributes.setdefault((key, True), InputAttributeNode(self, key, by_item=True))

    def __getattr__(self, name: str) -> InputAttributeNode:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._attributes.setdefault((name, False), InputAttributeNode(self, name, by_item=False))

    def label(self) -> str:
        return "input"

    def run(self, results: dict[DAGNode, Any], graph_input: Input) -> Any:
        return graph_input.whole()


class InputAttributeNode(DAGNode):
    """One item or attribute of the input. InputNode makes it."""

    def __init__(self, input_node: InputNode, key: int | str, by_item: bool) -> None:
        super().__init__()
        self._input_node = input_node
        self._by_item = by_item
        self.key = key

    def children(self) -> list[DAGNode]:
        return [self._input_node]

    def label(self) -> str:
        return f"input[{self.key!r}]" if self._by_item else f"input.{self.key}"

    def run(self, results: dict[DAGNode, Any], graph_input: Input) -> Any:
        whole = results[self._input_node]
        return whole[self.key] if self._by_item else getattr(whole, str(self.key))
