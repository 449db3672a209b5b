"""Tensors in the object store. torch is too big to be installed for the tests: a double over numpy has what is asked of it."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy
import pytest

import shoal
from shoal import _kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE = 500_000
UINT8 = numpy.dtype(numpy.uint8)


class Tensor:
    """What ``shoal.core.torch_tensors`` uses of torch.Tensor. ``__dict__`` is the user's."""

    __slots__ = ("__dict__", "_backward_hooks", "array", "device", "is_leaf", "is_quantized", "layout", "requires_grad")

    def __init__(self, array: Any, device: str = "cpu") -> None:
        self.array = array
        self.device = SimpleNamespace(type=device)
        self.layout, self.is_leaf, self.is_quantized, self.requires_grad = "strided", True, False, False
        self._backward_hooks: list[Any] = []

    def __reduce__(self) -> Any:
        return _own_pickling, (self.array.tolist(),)

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    def is_conj(self) -> bool:
        return False

    is_neg = is_conj

    def numel(self) -> int:
        return int(self.array.size)

    def element_size(self) -> int:
        return int(self.array.itemsize)

    def is_contiguous(self) -> bool:
        return bool(self.array.flags.c_contiguous)

    def detach(self) -> Tensor:
        return self

    def reshape(self, *shape: Any) -> Tensor:
        return Tensor(self.array.reshape(*shape))

    def view(self, dtype: Any) -> Tensor:
        return Tensor(self.array.view(dtype))

    def numpy(self) -> Any:
        return self.array

    def requires_grad_(self) -> Tensor:
        self.requires_grad = True
        return self


def _own_pickling(values: list[Any]) -> tuple[str, Any]:
    return "pickled by torch", numpy.array(values)


@pytest.fixture(autouse=True)
def torch(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("torch")
    module.strided, module.uint8 = "strided", UINT8  # type: ignore[attr-defined]
    module.frombuffer = lambda buffer, dtype: Tensor(numpy.frombuffer(buffer, dtype))  # type: ignore[attr-defined]
    monkeypatch.setattr(Tensor, "__module__", "torch")
    module.Tensor = Tensor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", module)


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    shoal.init(num_cpus=1, log_to_driver=False)
    yield
    shoal.shutdown()


@pytest.mark.parametrize("size", [8_000, LARGE])
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "complex64"])
def test_type_shape_and_gradients_are_kept(size: int, dtype: str) -> None:
    array = (numpy.arange(size) % 7).astype(dtype).reshape(2, -1)
    found = shoal.get(shoal.put(Tensor(array).requires_grad_()))
    assert found.dtype == array.dtype and found.shape == array.shape and found.requires_grad
    assert (found.numpy() == array).all() and not shoal.get(shoal.put(Tensor(array))).requires_grad


@pytest.mark.parametrize("size", [2_000, LARGE])
def test_what_is_written_into_one_is_seen_by_nobody_else(size: int) -> None:
    array = numpy.arange(size, dtype=numpy.float64)
    ref = shoal.put({"weights": Tensor(array)})
    first, second = shoal.get(ref)["weights"].numpy(), shoal.get(ref)["weights"].numpy()
    first += 1
    assert (first == array + 1).all() and (second == array).all()
    assert (shoal.get(ref)["weights"].numpy() == array).all()


def test_a_large_one_is_no_copy() -> None:
    ref = shoal.put(Tensor(numpy.zeros(LARGE)))
    before = private_bytes()
    found = [shoal.get(ref).numpy() for _ in range(20)]
    assert sum(float(array.sum()) for array in found) == 0
    assert private_bytes() - before < LARGE * 8 * 2


def test_its_memory_is_free_when_the_last_one_is_gone() -> None:
    ref = shoal.put(Tensor(numpy.ones(LARGE)))
    found = shoal.get(ref)
    del ref
    others = [shoal.put(numpy.zeros(LARGE)) for _ in range(3)]
    assert found.numpy().sum() == LARGE
    used = _kernel.memory_stats()["used_bytes"]
    del found, others
    assert _kernel.memory_stats()["used_bytes"] <= used - 4 * LARGE * 8


@pytest.mark.parametrize("change", ["small", "elsewhere", "strided", "with hooks", "with state"])
def test_the_rest_is_left_to_torch(change: str) -> None:
    tensor = Tensor(numpy.zeros(10 if change == "small" else 10_000), "cuda" if change == "elsewhere" else "cpu")
    if change == "strided":
        tensor.array = tensor.array[::2]
    elif change == "with hooks":
        tensor._backward_hooks = [print]
    elif change == "with state":
        vars(tensor)["name"] = "mine"
    assert shoal.get(shoal.put(tensor))[0] == "pickled by torch"


def private_bytes() -> int:
    """Memory that this process shares with nobody."""
    with open("/proc/self/smaps_rollup") as report:
        return sum(int(line.split()[1]) * 1024 for line in report if line.startswith(("Private_Dirty", "Private_Clean")))
