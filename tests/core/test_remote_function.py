from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING

import cloudpickle
import pytest

import shoal
from shoal.core.remote_function import RemoteFunction

if TYPE_CHECKING:
    from fake_engine import FakeEngine


@shoal.remote
def add(a: int, b: int = 1) -> int:
    """Adds."""
    return a + b


@shoal.remote
def count_to(n: int):  # type: ignore[no-untyped-def]
    yield from range(n)


@shoal.remote(num_returns=2)
def pair(a: int) -> tuple[int, int]:
    return a, a


def test_a_task_returns_a_reference_to_its_value(engine: FakeEngine) -> None:
    assert shoal.get(add.remote(1, b=2)) == 3


def test_a_reference_as_argument_is_its_value(engine: FakeEngine) -> None:
    assert shoal.get(add.remote(add.remote(1), 5)) == 7


def test_several_returns_are_a_list_and_none_is_none(engine: FakeEngine) -> None:
    assert shoal.get(pair.remote(4)) == [4, 4]
    assert add.options(num_returns=0).remote(1) is None


def test_a_generator_function_streams(engine: FakeEngine) -> None:
    assert [shoal.get(ref) for ref in count_to.remote(3)] == [0, 1, 2]


def test_the_engine_is_asked_for_a_submitter_once(engine: FakeEngine) -> None:
    for number in range(5):
        add.remote(number)
    assert engine.calls.count("task_submitter") == 1


def test_the_second_call_goes_straight_to_the_submitter(engine: FakeEngine) -> None:
    add.remote(1)
    assert add.remote is vars(add)["remote"]


def test_the_submitter_is_forgotten_when_the_session_ends(engines: list[FakeEngine]) -> None:
    shoal.init()
    add.remote(1)
    shoal.shutdown()
    assert "remote" not in vars(add)
    shoal.init()
    assert shoal.get(add.remote(2)) == 3
    assert [engine.calls.count("task_submitter") for engine in engines] == [1, 1]


def test_a_call_starts_a_session(engines: list[FakeEngine]) -> None:
    assert shoal.get(add.remote(1)) == 2
    assert shoal.is_initialized() and len(engines) == 1


def test_options_give_another_function_and_leave_this_one(engine: FakeEngine) -> None:
    twice = add.options(num_cpus=2, name="twice")
    assert twice is not add and twice._options.num_cpus == 2 and add._options.num_cpus is None
    assert shoal.get(twice.remote(1)) == 2


def test_the_same_options_give_the_same_function() -> None:
    assert add.options(num_cpus=2) is add.options(num_cpus=2)
    assert add.options(num_cpus=2) is not add.options(num_cpus=3)


def test_equal_values_of_another_type_are_checked_anew() -> None:
    add.options(num_returns=1)
    with pytest.raises(TypeError, match="num_returns"):
        add.options(num_returns=1.0)


def test_unhashable_options_work() -> None:
    assert add.options(resources={"a": 1})._options.resources == {"a": 1.0}


def test_options_of_options_are_merged() -> None:
    assert add.options(num_cpus=2).options(memory=5)._options.num_cpus == 2


def test_wrong_arguments_raise_at_the_call_with_the_signature(engine: FakeEngine) -> None:
    with pytest.raises(TypeError, match=r"add\(a, b=\.\.\.\): missing a required argument: 'a'"):
        add.remote()
    with pytest.raises(TypeError, match="unexpected keyword argument 'c'"):
        add.remote(1, c=2)
    with pytest.raises(TypeError, match="too many positional arguments"):
        add.remote(1, 2, 3)


def test_calling_it_directly_names_the_right_way() -> None:
    with pytest.raises(TypeError, match=r"cannot be called directly.*try 'add\.remote\(\)'"):
        add(1)


def test_it_looks_like_its_function() -> None:
    assert add.__name__ == "add" and add.__doc__ == "Adds." and add.__module__ == __name__


def test_bind_makes_a_node_of_a_graph() -> None:
    assert type(add.bind(1)).__module__.startswith("shoal.dag.")


def test_it_pickles_without_its_submitter(engine: FakeEngine) -> None:
    add.remote(1)
    copy = pickle.loads(cloudpickle.dumps(add))
    assert isinstance(copy, RemoteFunction) and copy.__name__ == "add"
    assert shoal.get(copy.remote(1)) == 2


def test_a_function_that_calls_itself_pickles(engine: FakeEngine) -> None:
    source = "import shoal\n@shoal.remote\ndef down(n):\n    return n if n == 0 else shoal.get(down.remote(n - 1))\n"
    scope: dict[str, object] = {"__name__": "__main__"}
    exec(source, scope)
    down = scope["down"]
    assert isinstance(down, RemoteFunction)
    assert shoal.get(pickle.loads(cloudpickle.dumps(down)).remote(3)) == 0
    restored = pickle.loads(cloudpickle.dumps(down._function))
    assert restored(2) == 0


def test_an_error_of_the_task_has_both_classes(engine: FakeEngine) -> None:
    @shoal.remote
    def fail() -> None:
        raise FileNotFoundError(2, os.strerror(2))

    with pytest.raises(FileNotFoundError) as caught:
        shoal.get(fail.remote())
    assert isinstance(caught.value, shoal.exceptions.RayTaskError) and caught.value.errno == 2


def test_the_private_call_form_works(engine: FakeEngine) -> None:
    assert shoal.get(add._remote(args=(1,), kwargs={"b": 3}, num_cpus=1)) == 4
