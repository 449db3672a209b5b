from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import pytest

from shoal.util import collective
from shoal.util.collective import backends
from shoal.util.collective.backends import Group, backend_class, gloo_available, is_backend_available, nccl_available


@pytest.fixture(autouse=True)
def no_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_registered", {})


def make(name: str, reason: str | None = None) -> type[Group]:
    methods: dict[str, Any] = {method: lambda self, *args: None for method in Group.__abstractmethods__}
    return type(name, (Group,), {**methods, "unavailable_because": classmethod(lambda cls: reason)})


def test_registered_backends_are_found_regardless_of_case() -> None:
    mine = make("Mine")
    backends.register_collective_backend("mine", mine)
    backends.register_collective_backend("MINE", mine)
    assert backend_class("Mine") is mine
    assert is_backend_available("MINE")


def test_a_name_is_taken_once() -> None:
    backends.register_collective_backend("mine", make("Mine"))
    with pytest.raises(ValueError, match="MINE is registered already"):
        backends.register_collective_backend("mine", make("Other"))
    with pytest.raises(TypeError, match="group_cls must be a subclass of Group, but got group_cls=<class 'int'>"):
        backends.register_collective_backend("int", int)  # type: ignore[arg-type]


def test_unknown_and_unsupported_backends_are_named() -> None:
    with pytest.raises(ValueError, match="but got backend='mpi'"):
        backend_class("mpi")
    with pytest.raises(NotImplementedError, match="NCCL is not supported yet"):
        backend_class("nccl")
    assert not nccl_available()
    assert not is_backend_available("mpi")


def test_without_torch_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"GLOO needs torch: pip install shoal\[train\]"):
        backend_class("gloo")
    assert not gloo_available()


def test_a_backend_can_say_why_it_is_not_available() -> None:
    backends.register_collective_backend("mine", make("Mine", "no network"))
    with pytest.raises(ImportError, match="MINE is not available: no network"):
        backend_class("mine")


@pytest.mark.parametrize("name", ["allreduce", "reduce", "broadcast", "allgather", "reducescatter", "send", "recv"])
def test_operations_on_several_gpus_of_a_process_are_refused_by_name(name: str) -> None:
    with pytest.raises(NotImplementedError, match=rf"{name}_multigpu\(\) .* use {name}\(\) in one actor for each device"):
        getattr(collective, f"{name}_multigpu")([], group_name="default")


def test_programs_for_ray_find_the_names_in_types() -> None:
    types = importlib.import_module("shoal.util.collective.types")
    assert (types.Backend, types.ReduceOp) == (backends.Backend, backends.ReduceOp)
