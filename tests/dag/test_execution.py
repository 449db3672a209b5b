from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest

import shoal
from shoal.dag import ClassMethodNode, ClassNode, FunctionNode, InputNode, MultiOutputNode

pytestmark = pytest.mark.usefixtures("cluster")


@shoal.remote
def add(x: int, y: int = 0) -> int:
    return x + y


@shoal.remote
def total(parts: Any) -> int:
    return sum(shoal.get(part) if isinstance(part, shoal.ObjectRef) else part for part in parts["parts"])


@shoal.remote(num_cpus=0)
class Counter:
    def __init__(self, start: int = 0) -> None:
        self.value = start
        self.calls = 0

    def add(self, amount: int) -> int:
        self.value += amount
        return self.value

    def get(self) -> int:
        return self.value

    @shoal.method(num_returns=2)
    def both(self, amount: int) -> tuple[int, int]:
        return self.value, amount


def test_functions_are_chained_through_their_nodes() -> None:
    node = add.bind(add.bind(1, 2), y=add.bind(3))
    assert isinstance(node, FunctionNode)
    assert shoal.get(node.execute()) == 6


def test_options_of_the_function_are_kept() -> None:
    assert shoal.get(add.options(name="a-name").bind(1, 2).execute()) == 3


def test_a_node_used_twice_runs_once() -> None:
    counter = Counter.remote()
    added = counter.add.bind(1)
    assert shoal.get(add.bind(added, added).execute()) == 2
    assert shoal.get(counter.get.remote()) == 1


def test_nodes_inside_containers_become_references() -> None:
    assert shoal.get(total.bind({"parts": [add.bind(1, 1), 5]}).execute()) == 7


def test_one_argument_is_the_input_itself() -> None:
    with InputNode() as inp:
        graph = add.bind(inp, 1)
        items = add.bind(inp[0], inp[1])
        named = add.bind(inp.x, inp.y)
        keyed = add.bind(inp["x"], 1)
    assert shoal.get(graph.execute(4)) == 5
    assert shoal.get(items.execute([1, 2])) == 3
    assert shoal.get(named.execute(SimpleNamespace(x=3, y=4))) == 7
    assert shoal.get(keyed.execute({"x": 9})) == 10


def test_several_arguments_are_items_and_attributes_of_the_input() -> None:
    with InputNode() as inp:
        graph = add.bind(inp[0], inp.y)
    assert shoal.get(graph.execute(1, y=2)) == 3
    assert shoal.get(graph.execute(5, y=6)) == 11


def test_a_missing_input_is_named() -> None:
    with InputNode() as inp:
        graph = add.bind(inp[0], inp.y)
    with pytest.raises(ValueError, match="has an InputNode, but execute"):
        graph.execute()
    with pytest.raises(AttributeError, match="without an input named 'y'"):
        graph.execute(1, z=2)
    with pytest.raises(ValueError, match="has no InputNode"):
        add.bind(1).execute(2)
    with pytest.raises(ValueError, match="an input is an int or a str"):
        inp[1.5]  # type: ignore[index]


def test_several_outputs_come_as_a_list() -> None:
    with InputNode() as inp:
        graph = MultiOutputNode([add.bind(inp, 1), add.bind(inp, 2)])
    assert shoal.get(graph.execute(10)) == [11, 12]
    with pytest.raises(ValueError, match="args must be a list or tuple"):
        MultiOutputNode(add.bind(1))  # type: ignore[arg-type]


def test_a_bound_class_makes_an_actor_for_each_execution() -> None:
    counter = Counter.bind(10)
    assert isinstance(counter, ClassNode)
    counter.add.bind(2)
    read = counter.get.bind()
    assert isinstance(read, ClassMethodNode)
    assert shoal.get(read.execute()) == 12
    assert shoal.get(read.execute()) == 12
    assert shoal.get(counter.execute().get.remote()) == 10


def test_constructors_take_nodes_but_no_input() -> None:
    assert shoal.get(Counter.bind(add.bind(1, 2)).get.bind().execute()) == 3
    with InputNode() as inp, pytest.raises(ValueError, match="must not depend on InputNode"):
        Counter.bind(add.bind(inp))


def test_methods_of_living_actors_are_bound() -> None:
    counter = Counter.remote(5)
    with InputNode() as inp:
        graph = counter.add.bind(add.bind(inp, 1))
    assert [shoal.get(graph.execute(1)), shoal.get(graph.execute(2))] == [7, 10]


def test_each_return_value_of_a_method_is_a_node() -> None:
    first, second = Counter.remote(5).both.bind(6)
    assert shoal.get(add.bind(first, second).execute()) == 11


def test_unknown_methods_are_refused_when_bound() -> None:
    counter = Counter.bind()
    with pytest.raises(AttributeError, match="has no method 'missing'"):
        counter.missing
    with pytest.raises(AttributeError, match="bound already"):
        counter.bind()
    with pytest.raises(AttributeError, match=r"use .bind\(\) instead of .remote\(\)"):
        counter.get.remote()


def test_method_options_apply_to_the_call() -> None:
    assert shoal.get(Counter.bind(3).get.options(name="reading").bind().execute()) == 3


def test_the_error_of_a_step_reaches_the_end() -> None:
    with pytest.raises(TypeError):
        shoal.get(add.bind(add.bind("a", 1)).execute())


def test_a_graph_may_be_deeper_than_the_stack() -> None:
    node = add.bind(0)
    with InputNode() as inp:
        chain: Any = inp
        for _ in range(3):
            chain = add.bind(chain, 1)
    assert shoal.get(chain.execute(0)) == 3
    from shoal.dag.node import in_order

    for _ in range(2000):
        node = FunctionNode(add, "add", (node,), {})
    assert len(in_order(node)) == 2001


def test_nodes_do_not_travel() -> None:
    with pytest.raises(ValueError, match="cannot be serialized"):
        pickle.dumps(add.bind(1))


def test_bound_arguments_can_be_read() -> None:
    node = add.bind(1, y=2)
    assert node.get_args() == (1,)
    assert node.get_kwargs() == {"y": 2}


def test_nodes_keep_no_references_and_say_so() -> None:
    with InputNode() as inp:
        graph = add.bind(inp, 1)
    with pytest.raises(NotImplementedError, match="_ray_cache_refs=True"):
        graph.execute(1, _ray_cache_refs=True)
    assert shoal.get(graph.execute(1, _ray_cache_refs=False)) == 2
