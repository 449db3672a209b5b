"""The contract of a collective backend, and which ones there are."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from enum import Enum
from typing import Any


class ReduceOp(Enum):
    SUM = 0
    PRODUCT = 1
    MIN = 2
    MAX = 3


class Backend:
    """Names of backends. NCCL is known and not supported yet."""

    NCCL = "NCCL"
    GLOO = "GLOO"


class Group(ABC):
    """One process's membership in a group: what a backend implements.

    Every operation is called by all members, in the same order; ``send`` and ``recv`` by one pair. Tensors are changed in
    place. An operation returns when this member's part is done, and raises when another member is gone or time is up.
    """

    def __init__(self, world_size: int, rank: int, group_name: str, timeout_ms: int = 30_000) -> None:
        self.world_size = world_size
        self.rank = rank
        self.group_name = group_name
        self.timeout_ms = timeout_ms

    @classmethod
    def unavailable_because(cls) -> str | None:
        """Why the backend cannot be used in this process; None when it can."""
        return None

    def destroy_group(self) -> None:  # noqa: B027  most backends hold nothing
        """Gives back what the membership holds."""

    @abstractmethod
    def allreduce(self, tensor: Any, op: ReduceOp) -> None: ...
    @abstractmethod
    def reduce(self, tensor: Any, dst_rank: int, op: ReduceOp) -> None: ...
    @abstractmethod
    def broadcast(self, tensor: Any, src_rank: int) -> None: ...
    @abstractmethod
    def allgather(self, tensor_list: list[Any], tensor: Any) -> None: ...
    @abstractmethod
    def reducescatter(self, tensor: Any, tensor_list: list[Any], op: ReduceOp) -> None: ...
    @abstractmethod
    def send(self, tensor: Any, dst_rank: int) -> None: ...
    @abstractmethod
    def recv(self, tensor: Any, src_rank: int) -> None: ...
    @abstractmethod
    def barrier(self) -> None: ...


_registered: dict[str, type[Group]] = {}


def register_collective_backend(name: str, group_cls: type[Group]) -> None:
    """Makes ``group_cls`` the backend ``name`` in this process; each member of a group must do it.

    Raises TypeError when it is no subclass of Group, ValueError when the name is taken by another class."""
    candidate: Any = group_cls
    if not (isinstance(candidate, type) and issubclass(candidate, Group)):
        raise TypeError(f"group_cls must be a subclass of Group, but got group_cls={group_cls!r}")
    known = _registered.setdefault(name.upper(), group_cls)
    if known is not group_cls:
        raise ValueError(f"backend {name.upper()} is registered already, as {known!r}")


def is_backend_available(backend: str) -> bool:
    """Whether groups can use the backend in this process."""
    try:
        backend_class(backend)
    except (ImportError, NotImplementedError, ValueError):
        return False
    return True


def gloo_available() -> bool:
    return is_backend_available(Backend.GLOO)


def nccl_available() -> bool:
    return is_backend_available(Backend.NCCL)


def backend_class(backend: str) -> type[Group]:
    """The class of a backend. Raises ValueError when the name is unknown, NotImplementedError for NCCL, ImportError when
    something that it needs is missing."""
    name = backend.upper()
    if name in ("GLOO", "TORCH_GLOO") and "GLOO" not in _registered:
        if importlib.util.find_spec("torch") is None:
            raise ImportError("the collective backend GLOO needs torch: pip install shoal[train]")
        from shoal.util.collective.gloo import GlooGroup

        _registered["GLOO"] = GlooGroup
    found = _registered.get("GLOO" if name == "TORCH_GLOO" else name)
    if found is None and name == Backend.NCCL:
        raise NotImplementedError("the collective backend NCCL is not supported yet: use GLOO")
    if found is None:
        raise ValueError(f"backend must be GLOO or one of the registered {sorted(_registered)}, but got backend={backend!r}")
    reason = found.unavailable_because()
    if reason is not None:
        raise ImportError(f"the collective backend {name} is not available: {reason}")
    return found
