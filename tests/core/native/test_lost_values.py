"""What happens when somebody removes the file of a value that can't be computed again: a typed error, wherever it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy
import pytest

import shoal
from shoal import _kernel
from shoal.exceptions import ActorDiedError, ObjectLostError, ObjectReconstructionFailedError, RayTaskError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VALUE_BYTES = 2**20
LIMIT_S = 20.0


@pytest.fixture(scope="module")
def spill_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("spilled")
    shoal.init(num_cpus=2, log_to_driver=False, object_spilling_directory=str(folder))
    yield folder
    shoal.shutdown()


@shoal.remote
def total(values: Any) -> int:
    return int(values.sum())


@shoal.remote(max_retries=0)
def ones() -> Any:
    return numpy.ones(VALUE_BYTES, numpy.uint8)


@shoal.remote
def inside(refs: list[shoal.ObjectRef]) -> int:
    return int(shoal.get(refs[0]).sum())


@shoal.remote
class Holder:
    def __init__(self, values: Any) -> None:
        self.values = values

    def total(self) -> int:
        return int(self.values.sum())


def spilled(ref: shoal.ObjectRef, folder: Path) -> Path:
    """The only file in the folder: the value's."""
    shoal.wait([ref], timeout=LIMIT_S)
    _kernel.spill(2**40)
    [path] = [path for path in folder.rglob("*") if path.is_file()]
    return path


def lost(ref: shoal.ObjectRef, folder: Path) -> Path:
    path = spilled(ref, folder)
    path.unlink()
    return path


@pytest.mark.parametrize("of", ["put", "task"])
def test_get_of_a_value_whose_file_is_gone_names_the_file(spill_folder: Path, of: str) -> None:
    ref = shoal.put(numpy.ones(VALUE_BYTES, numpy.uint8)) if of == "put" else ones.remote()
    path = lost(ref, spill_folder)
    with pytest.raises(ObjectReconstructionFailedError) as caught:
        shoal.get(ref, timeout=LIMIT_S)
    assert str(path) in str(caught.value) and "No such file" in str(caught.value)
    assert caught.value.object_ref_hex == ref.hex()
    assert caught.value.reason == ("PUT" if of == "put" else "RETRIES_DISABLED")
    assert shoal.wait([ref], timeout=0) == ([ref], [])
    with pytest.raises(ObjectLostError):
        shoal.get([ref, ref])


def test_a_file_that_was_cut_is_a_lost_value_too(spill_folder: Path) -> None:
    ref = shoal.put(numpy.ones(VALUE_BYTES, numpy.uint8))
    path = spilled(ref, spill_folder)
    path.write_bytes(b"short")
    with pytest.raises(ObjectLostError, match="shorter than what was written"):
        shoal.get(ref, timeout=LIMIT_S)


@pytest.mark.parametrize("of", ["array", "list"])
def test_a_file_whose_pickle_was_changed_is_not_unpickled(spill_folder: Path, of: str) -> None:
    """Every byte that is more than data counts, at either end of the file or anywhere in it."""
    value: Any = numpy.ones(VALUE_BYTES, numpy.uint8) if of == "array" else [f"number {number}" for number in range(10_000)]
    ref = shoal.put(value)
    path = spilled(ref, spill_folder)
    good = path.read_bytes()
    for place in (0, 4, 100) if of == "array" else (0, 4, 100, len(good) // 2, -1):
        changed = bytearray(good)
        changed[place] ^= 0x80
        path.write_bytes(changed)
        with pytest.raises(ObjectLostError, match="its bytes are not what was written"):
            shoal.get(ref, timeout=LIMIT_S)
    path.write_bytes(good)
    assert list(shoal.get(ref)) == list(value)


def test_a_task_whose_argument_is_lost_fails_with_the_loss(spill_folder: Path) -> None:
    ref = shoal.put(numpy.ones(VALUE_BYTES, numpy.uint8))
    path = lost(ref, spill_folder)
    for call in (total.remote(ref), inside.remote([ref])):
        with pytest.raises(ObjectLostError) as caught:
            shoal.get(call, timeout=LIMIT_S)
        assert isinstance(caught.value, RayTaskError) and str(path) in str(caught.value)
    assert shoal.get(total.remote(numpy.ones(3)), timeout=LIMIT_S) == 3


def test_an_actor_whose_constructor_needs_a_lost_value_dies_of_it(spill_folder: Path) -> None:
    ref = shoal.put(numpy.ones(VALUE_BYTES, numpy.uint8))
    path = lost(ref, spill_folder)
    with pytest.raises(ActorDiedError) as caught:
        shoal.get(Holder.remote(ref).total.remote(), timeout=LIMIT_S)
    assert str(path) in str(caught.value) and "ObjectReconstructionFailedError" in str(caught.value)


def test_what_was_read_before_stays_readable(spill_folder: Path) -> None:
    ref = shoal.put(numpy.ones(VALUE_BYTES, numpy.uint8))
    path = spilled(ref, spill_folder)
    view = shoal.get(ref)
    path.unlink()
    assert int(view.sum()) == VALUE_BYTES
