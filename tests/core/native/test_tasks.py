from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import shoal
from shoal.cluster_utils import Cluster
from shoal.exceptions import RayTaskError, WorkerCrashedError

pytestmark = pytest.mark.usefixtures("cluster")


@shoal.remote
def add(left: int, right: int = 1) -> int:
    return left + right


@shoal.remote
def fail(text: str) -> None:
    raise ValueError(text)


@shoal.remote
def first(values: list[Any]) -> Any:
    return values[0]


def test_a_task_gives_what_its_function_returns() -> None:
    assert shoal.get(add.remote(1)) == 2
    assert shoal.get(add.remote(1, 2)) == 3
    assert shoal.get(add.remote(right=4, left=3)) == 7


def test_wrong_arguments_are_refused_where_the_call_is_made() -> None:
    with pytest.raises(TypeError, match="left"):
        add.remote()
    with pytest.raises(TypeError):
        add.remote(1, 2, 3)
    with pytest.raises(TypeError, match="other"):
        add.remote(1, other=2)


def test_references_among_the_arguments_are_replaced_by_their_values() -> None:
    assert shoal.get(add.remote(shoal.put(1), right=add.remote(2))) == 4


def test_references_inside_of_containers_stay_references() -> None:
    inner = shoal.put(5)
    found = shoal.get(first.remote([inner]))
    assert isinstance(found, shoal.ObjectRef)
    assert found == inner
    assert shoal.get(found) == 5


def test_a_long_chain_of_tasks_runs_through() -> None:
    ref = add.remote(0)
    for _ in range(200):
        ref = add.remote(ref)
    assert shoal.get(ref) == 201


def test_many_tasks_give_their_results_in_the_order_of_the_references() -> None:
    assert shoal.get([add.remote(number) for number in range(2000)]) == list(range(1, 2001))


def test_several_results_are_several_references() -> None:
    @shoal.remote(num_returns=3)
    def three() -> tuple[int, int, int]:
        return 1, 2, 3

    refs = three.remote()
    assert len(refs) == 3
    assert shoal.get(refs) == [1, 2, 3]
    assert three.options(num_returns=0).remote() is None


def test_a_wrong_number_of_results_fails_every_reference() -> None:
    @shoal.remote(num_returns=2)
    def give(value: Any) -> Any:
        return value

    for value, error in (((1, 2, 3), ValueError), (7, TypeError)):
        for ref in give.remote(value):
            with pytest.raises(error, match="num_returns=2"):
                shoal.get(ref)


def test_an_error_arrives_as_its_own_type_with_the_workers_traceback() -> None:
    with pytest.raises(ValueError, match="no such thing") as caught:
        shoal.get(fail.remote("no such thing"))
    assert isinstance(caught.value, RayTaskError)
    assert "raise ValueError(text)" in str(caught.value)
    assert __file__.rpartition("/")[2] in str(caught.value)


def test_an_error_passes_through_the_tasks_that_depend_on_it() -> None:
    failed = fail.remote("the first cause")
    with pytest.raises(ValueError, match="the first cause") as caught:
        shoal.get(add.remote(add.remote(failed)))
    assert "raise ValueError(text)" in str(caught.value)


def test_an_error_that_cannot_be_pickled_arrives_with_its_text() -> None:
    @shoal.remote
    def raise_unpicklable() -> None:
        class Odd(Exception):
            def __reduce__(self) -> Any:
                raise TypeError("not this one")

        raise Odd("the text of it")

    with pytest.raises(Exception, match="the text of it"):
        shoal.get(raise_unpicklable.remote())


def test_tasks_start_tasks_and_wait_for_them() -> None:
    @shoal.remote
    def fibonacci(n: int) -> int:
        if n < 2:
            return n
        left, right = fibonacci.remote(n - 1), fibonacci.remote(n - 2)
        return int(shoal.get(left)) + int(shoal.get(right))

    assert shoal.get(fibonacci.remote(5)) == 5


def test_tasks_that_wait_lend_their_cpus_so_that_nesting_deeper_than_the_node_ends() -> None:
    @shoal.remote(num_cpus=4)
    def nest(depth: int) -> int:
        return 0 if depth == 0 else 1 + int(shoal.get(nest.remote(depth - 1)))

    assert shoal.get(nest.remote(6), timeout=30) == 6


def test_a_function_takes_along_what_it_closes_over() -> None:
    offset = 10

    @shoal.remote
    def shifted(value: int) -> int:
        return value + offset

    assert shoal.get(shifted.remote(1)) == 11


def test_a_function_defined_again_is_the_new_one() -> None:
    for expected in (1, 2):

        @shoal.remote
        def number() -> int:
            return expected  # noqa: B023 - this is what is tested

        assert shoal.get(number.remote()) == expected


def test_a_function_that_carries_too_much_is_refused() -> None:
    import numpy

    data = numpy.zeros(101 * 1024 * 1024, dtype=numpy.uint8)

    @shoal.remote
    def use() -> int:
        return len(data)

    with pytest.raises(ValueError, match="too large"):
        use.remote()


def test_a_function_that_cannot_be_pickled_is_refused_with_what_is_wrong() -> None:
    import threading

    lock = threading.Lock()

    @shoal.remote
    def use() -> bool:
        return lock.locked()

    with pytest.raises(TypeError, match="lock"):
        use.remote()


def test_a_task_that_exits_fails_and_the_next_one_runs() -> None:
    @shoal.remote(max_retries=0)
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(WorkerCrashedError, match="sys.exit"):
        shoal.get(leave.remote())
    assert shoal.get(add.remote(1)) == 2


def test_a_worker_ends_after_max_calls_of_a_function() -> None:
    @shoal.remote(max_calls=1)
    def pid() -> int:
        return os.getpid()

    assert len({shoal.get(pid.remote()) for _ in range(3)}) == 3


def test_math_libraries_get_as_many_threads_as_a_task_has_cpus() -> None:
    @shoal.remote
    def threads() -> str | None:
        return os.environ.get("OMP_NUM_THREADS")

    assert shoal.get(threads.remote()) == "1"
    assert shoal.get(threads.options(num_cpus=2).remote()) == "2"


def test_a_task_runs_in_another_process_whose_title_says_what_it_does() -> None:
    @shoal.remote
    def title() -> tuple[int, str]:
        return os.getpid(), Path("/proc/self/cmdline").read_text().partition("\0")[0]

    @shoal.remote(num_cpus=0)
    class Titled:
        def __init__(self) -> None:
            self.first = self.title()

        def first_title(self) -> str:
            return self.first

        def title(self) -> str:
            return Path("/proc/self/cmdline").read_text().partition("\0")[0]

    pid, shown = shoal.get(title.remote())
    assert pid != os.getpid()
    assert shown == "ray::title"
    titled = Titled.remote()
    assert shoal.get(titled.first_title.remote()) == "ray::Titled.__init__"
    assert shoal.get(titled.title.remote()) == "ray::Titled.title"
    assert shoal.get(titled.title.options(name="other").remote()) == "ray::other"


PROGRAM = """
import sys
import shoal
from beside import value

address = sys.argv[1] if len(sys.argv) > 1 else None
shoal.init(address=address, job_config=shoal.job_config.JobConfig(code_search_path=[sys.path[0] + "/elsewhere"]))

@shoal.remote
def read():
    import beside, only_there
    return beside.value + only_there.value

print("read", shoal.get(read.remote()))
"""


def test_workers_find_the_modules_that_the_program_finds(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "only_there.py").write_text("value = 2")
    (tmp_path / "beside.py").write_text("value = 1")
    (tmp_path / "program.py").write_text(PROGRAM)
    running = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        for arguments in ([], [running.address]):
            command = [sys.executable, str(tmp_path / "program.py"), *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
            assert "read 3" in done.stdout, done.stderr
    finally:
        running.shutdown()
