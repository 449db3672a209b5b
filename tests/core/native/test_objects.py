from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy
import pytest

import shoal
from shoal import _kernel
from shoal.exceptions import GetTimeoutError, ObjectLostError, OufOfBandObjectRefSerializationException

pytestmark = pytest.mark.usefixtures("cluster")

BIG_BYTES = 8 * 1024 * 1024


@shoal.remote
def echo(value: Any) -> Any:
    return value


@shoal.remote
class Gate:
    """Lets tasks end when a test wants them to."""

    def __init__(self) -> None:
        self.opened = threading.Event()

    def open(self) -> None:
        self.opened.set()

    def wait(self) -> bool:
        return self.opened.wait(30)


@pytest.fixture
def gate() -> Any:
    made = Gate.options(max_concurrency=8, num_cpus=0).remote()
    yield made
    shoal.get(made.open.remote())


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -(2**70),
        1.5,
        1j,
        "text \N{SNOWMAN} \ud800".encode("utf-8", "surrogatepass"),
        "text \N{SNOWMAN}",
        b"\0\1",
        bytearray(b"x" * 5000),
        [1, [2, (3,)], {"a": {1, 2}}],
        {(1, 2): [None]},
        frozenset({1}),
        range(3),
        slice(1, None, 2),
        Exception("kept as a value"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_come_back_as_they_were(value: Any) -> None:
    for found in (shoal.get(shoal.put(value)), shoal.get(echo.remote(value))):
        assert type(found) is type(value)
        assert repr(found) == repr(value)


def test_an_array_is_read_in_place_and_cannot_be_written() -> None:
    ref = shoal.put(numpy.arange(BIG_BYTES // 8))
    first, second = shoal.get(ref), shoal.get(ref)
    assert numpy.shares_memory(first, second)
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1


def test_a_small_array_cannot_be_written_either() -> None:
    small = [numpy.zeros(4), numpy.zeros(0)]
    for found in (shoal.get(shoal.put(small)), shoal.get(echo.remote(small))):
        with pytest.raises(ValueError, match="read-only"):
            found[0][0] = 1
        assert len(found[1]) == 0


def test_an_array_outlives_its_reference() -> None:
    ref = shoal.put(numpy.full(BIG_BYTES // 8, 7))
    found = shoal.get(ref)
    del ref
    gc.collect()
    others = [shoal.put(numpy.zeros(BIG_BYTES // 8)) for _ in range(4)]
    assert (found == 7).all()
    del others


def test_the_last_reference_frees_the_object() -> None:
    before = _kernel.memory_stats()["used_bytes"]
    for _ in range(50):
        ref = shoal.put(numpy.zeros(BIG_BYTES, dtype=numpy.uint8))
        del ref
    assert _kernel.memory_stats()["used_bytes"] < before + 2 * BIG_BYTES


def test_a_reference_inside_of_a_value_keeps_its_object() -> None:
    inner = shoal.put(numpy.full(100_000, 3))
    outer = shoal.put([inner])
    del inner
    gc.collect()
    assert (shoal.get(shoal.get(outer)[0]) == 3).all()


def test_get_of_a_list_keeps_its_order_and_takes_duplicates() -> None:
    one, two = shoal.put(1), echo.remote(2)
    assert shoal.get([two, one, two]) == [2, 1, 2]
    assert shoal.get([]) == []


def test_get_raises_when_the_value_is_not_there_in_time(gate: Any) -> None:
    ref = gate.wait.remote()
    for timeout in (0, 0.01):
        with pytest.raises(GetTimeoutError):
            shoal.get(ref, timeout=timeout)
        with pytest.raises(TimeoutError):
            shoal.get([ref], timeout=timeout)
    gate.open.remote()
    assert shoal.get(ref, timeout=-1) is True


def test_get_raises_the_first_failure_without_waiting_for_the_rest(gate: Any) -> None:
    @shoal.remote
    def fail() -> None:
        raise KeyError("at once")

    with pytest.raises(KeyError, match="at once"):
        shoal.get([gate.wait.remote(), fail.remote()], timeout=20)


def test_wait_splits_what_is_ready_from_the_rest_in_the_order_given(gate: Any) -> None:
    slow, fast = gate.wait.remote(), shoal.put(1)
    assert shoal.wait([slow, fast]) == ([fast], [slow])
    assert shoal.wait([slow, fast], num_returns=2, timeout=0.01) == ([fast], [slow])
    assert shoal.wait([slow], timeout=0) == ([], [slow])
    gate.open.remote()
    assert shoal.wait([slow, fast], num_returns=2) == ([slow, fast], [])


def test_wait_gives_no_more_than_was_asked_for() -> None:
    refs = [shoal.put(number) for number in range(3)]
    assert shoal.wait(refs, num_returns=2) == (refs[:2], refs[2:])


def test_wait_refuses_what_makes_no_sense() -> None:
    ref = shoal.put(1)
    for bad, options in (([ref, ref], {}), ([ref], {"num_returns": 0}), ([ref], {"num_returns": 2}), ([ref], {"timeout": -1})):
        with pytest.raises(ValueError):
            shoal.wait(bad, **options)
    for bad in (ref, (ref,), [1]):
        with pytest.raises(TypeError):
            shoal.wait(bad)


def test_get_and_put_refuse_what_makes_no_sense() -> None:
    for bad in (1, (), {}, "x"):
        with pytest.raises(ValueError, match="ObjectRef"):
            shoal.get(bad)
    with pytest.raises(TypeError, match="not allowed"):
        shoal.put(shoal.put(1))


def test_an_object_that_cannot_be_pickled_is_refused_with_what_is_wrong() -> None:
    with pytest.raises(TypeError, match=r"value\['lock'\]"):
        shoal.put({"lock": threading.Lock()})


def test_a_reference_pickled_by_the_user_finds_its_object() -> None:
    ref = shoal.put("kept")
    assert shoal.get(pickle.loads(pickle.dumps(ref))) == "kept"


def test_an_id_finds_its_object_as_long_as_it_is_there() -> None:
    ref = shoal.put("kept")
    first, second = echo.options(num_returns=2).remote((1, 2))
    assert shoal.get([first, second]) == [1, 2]
    for each in (ref, first, second):
        assert shoal.ObjectRef(each.binary()) == each == shoal.ObjectRef.from_binary(each.binary())
    binary = ref.binary()
    del ref, each
    gc.collect()
    with pytest.raises(ObjectLostError, match=binary.hex()):
        shoal.get(shoal.ObjectRef(binary))
    with pytest.raises(ValueError, match="28 bytes"):
        shoal.ObjectRef(b"short")


def test_another_process_holds_an_object_after_the_driver_has_let_go() -> None:
    @shoal.remote(num_cpus=0)
    class Keeper:
        def keep(self, refs: list[Any]) -> None:
            self.refs = refs

        def read(self) -> Any:
            return shoal.get(self.refs[0]).sum()

    keeper = Keeper.remote()
    ref = shoal.put(numpy.ones(100_000))
    shoal.get(keeper.keep.remote([ref]))
    del ref
    gc.collect()
    assert shoal.get(keeper.read.remote()) == 100_000


def test_many_threads_put_and_get_at_once() -> None:
    wrong: list[Any] = []

    def use(number: int) -> None:
        for step in range(50):
            value = [number, step]
            if shoal.get(echo.remote(shoal.put(value))) != value:
                wrong.append(value)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_references_pickled_outside_of_shoal_can_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ref = shoal.put(1)
    monkeypatch.setenv("RAY_allow_out_of_band_object_ref_serialization", "0")
    with pytest.raises(OufOfBandObjectRefSerializationException):
        pickle.dumps(ref)

    @shoal.remote
    def captures() -> None:
        ref

    with pytest.raises(OufOfBandObjectRefSerializationException):
        captures.remote()
    assert shoal.get(shoal.get(echo.remote([ref]))[0]) == 1


def test_cycles_that_hold_objects_are_collected_when_memory_becomes_short(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import gc, numpy, shoal\n"
        "shoal.init(num_cpus=1, object_store_memory=80 * 2**20)\n"
        "@shoal.remote\n"
        "class Untidy:\n"
        "    def __init__(self):\n"
        "        gc.disable()\n"
        "    def put(self):\n"
        "        cycle = [shoal.put(numpy.ones(2**20))]\n"
        "        cycle.append(cycle)\n"
        "    def spilled(self):\n"
        "        return shoal._kernel.memory_stats()['spilled_objects']\n"
        "untidy = Untidy.remote()\n"
        "for _ in range(12):\n"
        "    shoal.get(untidy.put.remote())\n"
        "print('spilled', shoal.get(untidy.spilled.remote()))\n"
    )
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=50, check=True)
    assert "spilled 0" in done.stdout


@pytest.mark.parametrize("name", ["nil", "from_random"])
def test_there_is_no_reference_to_nothing(name: str) -> None:
    with pytest.raises(NotImplementedError, match=rf"ObjectRef\.{name} is not supported"):
        getattr(shoal.ObjectRef, name)()
