from __future__ import annotations

import subprocess
import sys

import pytest

import shoal
from shoal.dag import ClassMethodNode, ClassNode, FunctionNode, InputNode, binder

pytestmark = pytest.mark.usefixtures("cluster")


@shoal.remote
def function() -> int:
    return 1


@shoal.remote(num_cpus=0)
class Worker:
    def method(self) -> int:
        return 2

    @shoal.method(num_returns=2)
    def both(self) -> tuple[int, int]:
        return 1, 2


def test_each_remote_thing_becomes_its_node() -> None:
    assert isinstance(function.bind(), FunctionNode)
    assert isinstance(Worker.bind(), ClassNode)
    assert isinstance(Worker.remote().method.bind(), ClassMethodNode)
    assert len(Worker.remote().both.bind()) == 2


def test_a_bound_method_keeps_its_actor_alive() -> None:
    node = Worker.remote().method.bind()
    assert shoal.get(node.execute()) == 2
    assert shoal.get(node.execute()) == 2


def test_other_things_cannot_be_bound() -> None:
    with pytest.raises(TypeError, match="takes a remote function, an actor class or an actor's method, but got 1"):
        binder.bind(1, (), {})


def test_bind_loads_the_library_by_itself() -> None:
    program = (
        "import shoal, sys\n"
        "assert 'shoal.dag' not in sys.modules\n"
        "@shoal.remote\n"
        "def double(x): return 2 * x\n"
        "print(shoal.get(double.bind(21).execute()))\n"
        "shoal.shutdown()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("42\n", "")


def test_input_nodes_are_shared_by_key() -> None:
    inp = InputNode()
    assert inp[0] is inp[0]
    assert inp.x is inp.x
    assert inp["x"] is not inp.x
