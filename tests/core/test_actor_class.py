from __future__ import annotations

import pickle

import cloudpickle
import pytest
from fake_engine import FakeEngine

import shoal
from shoal.core.actor_class import ActorClass, ActorClassInheritanceException


@shoal.remote
class Counter:
    """Counts."""

    def __init__(self, start: int = 0) -> None:
        self.count = start

    def add(self, amount: int = 1) -> int:
        self.count += amount
        return self.count


def test_remote_makes_an_actor(engine: FakeEngine) -> None:
    counter = Counter.remote(5)
    assert shoal.get(counter.add.remote()) == 6


def test_wrong_constructor_arguments_raise_at_the_call(engine: FakeEngine) -> None:
    with pytest.raises(TypeError, match=r"Counter\(start=\.\.\.\): too many positional arguments"):
        Counter.remote(1, 2)
    assert engine.actors == {}


def test_options_reach_the_engine_and_leave_the_class_alone(engine: FakeEngine) -> None:
    handle = Counter.options(name="c", max_restarts=2).remote()
    assert handle._state.options.max_restarts == 2 and Counter._options.name is None
    assert Counter.options(num_cpus=1).options(memory=3)._options.num_cpus == 1


def test_a_taken_name_is_both_errors(engine: FakeEngine) -> None:
    first = Counter.options(name="c").remote()
    with pytest.raises(ValueError, match="already taken"):
        Counter.options(name="c").remote()
    assert Counter.options(name="c", get_if_exists=True).remote() == first


def test_an_actor_class_is_not_called_and_not_inherited_from() -> None:
    with pytest.raises(TypeError, match=r"Actors cannot be instantiated directly.*'Counter\.remote\(\)'"):
        Counter()
    with pytest.raises(ActorClassInheritanceException, match="define subclass 'Sub' of actor class 'Counter'"):

        class Sub(Counter):
            pass


def test_an_impossible_order_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="multi-threaded actors"):
        Counter.options(max_concurrency=2, allow_out_of_order_execution=False)

    class Later:
        async def later(self) -> None: ...

    with pytest.raises(ValueError, match="async actors"):
        shoal.remote(allow_out_of_order_execution=False)(Later)


def test_it_looks_like_its_class() -> None:
    assert (Counter.__name__, Counter.__doc__, Counter.__module__) == ("Counter", "Counts.", __name__)
    assert repr(Counter) == "ActorClass(Counter)" and Counter.__ray_actor_class__.__name__ == "Counter"


def test_class_attributes_are_reached_through_it() -> None:
    @shoal.remote
    class Made:
        limit = 3

        def __init__(self, x: int) -> None:
            self.x = x

        @classmethod
        def make(cls, x: int) -> object:
            return cls(x)

    assert Made.limit == 3 and Made.make(4).x == 4
    assert dir(Made) == ["bind", "make", "options", "remote"]
    assert Made.__ray_metadata__ == ("Made", Made.__ray_actor_class__, ("make",))
    with pytest.raises(AttributeError, match="has no attribute 'missing'"):
        Made.missing


def test_bind_makes_a_node_of_a_graph() -> None:
    assert type(Counter.bind()).__module__.startswith("shoal.dag.")


def test_an_actor_class_pickles(engine: FakeEngine) -> None:
    copy = pickle.loads(cloudpickle.dumps(Counter.options(max_restarts=3)))
    assert isinstance(copy, ActorClass) and copy._options.max_restarts == 3
    assert shoal.get(copy.remote(1).add.remote(2)) == 3


def test_a_class_whose_methods_name_its_actor_class_pickles(engine: FakeEngine) -> None:
    source = (
        "import shoal\n@shoal.remote\nclass Node:\n"
        "    def depth(self, n):\n        return n if n == 0 else 1 + shoal.get(Node.remote().depth.remote(n - 1))\n"
    )
    scope: dict[str, ActorClass] = {"__name__": "__main__"}  # type: ignore[dict-item]
    exec(source, scope)
    node = scope["Node"]
    assert shoal.get(pickle.loads(cloudpickle.dumps(node)).remote().depth.remote(2)) == 2
    plain = pickle.loads(cloudpickle.dumps(node.__ray_actor_class__))
    assert plain().depth(2) == 2


def test_the_private_call_form_works(engine: FakeEngine) -> None:
    handle = Counter._remote(args=(1,), kwargs={}, name="private")
    assert shoal.get_actor("private") == handle
