"""The identifiers users see: fixed-size byte strings with a hex form."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from typing_extensions import Self


class BaseID:
    """An immutable identifier of ``SIZE`` bytes, compared and hashed by its bytes and its type."""

    SIZE: ClassVar[int] = 28
    __slots__ = ("_bytes",)

    def __init__(self, binary: bytes) -> None:
        """Raises ValueError unless ``binary`` has exactly ``SIZE`` bytes."""
        if not isinstance(binary, bytes):
            raise TypeError(f"{type(self).__name__} must be made of bytes, but got {binary!r}")
        if len(binary) != self.SIZE:
            raise ValueError(f"{type(self).__name__} needs to have length {self.SIZE}, but got {len(binary)} bytes")
        self._bytes = binary

    @classmethod
    def from_hex(cls, hex_id: str | bytes) -> Self:
        """The id that ``hex()`` printed. Raises ValueError when it is not one of this type."""
        text = hex_id.decode() if isinstance(hex_id, bytes) else hex_id
        return cls(bytes.fromhex(text))

    @classmethod
    def from_binary(cls, binary: bytes) -> Self:
        return cls(binary)

    @classmethod
    def nil(cls) -> Self:
        """The id of nothing: all bits set."""
        return cls(b"\xff" * cls.SIZE)

    @classmethod
    def from_random(cls) -> Self:
        return cls(os.urandom(cls.SIZE))

    @classmethod
    def size(cls) -> int:
        return cls.SIZE

    def is_nil(self) -> bool:
        return self._bytes == b"\xff" * self.SIZE

    def binary(self) -> bytes:
        return self._bytes

    def hex(self) -> str:
        return self._bytes.hex()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._bytes == other._bytes

    def __hash__(self) -> int:
        return hash((type(self), self._bytes))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.hex()})"

    def __reduce__(self) -> tuple[type[BaseID], tuple[bytes]]:
        return type(self), (self._bytes,)


class UniqueID(BaseID):
    """Any 28-byte id."""

    __slots__ = ()


class NodeID(UniqueID):
    """A node of the cluster."""

    __slots__ = ()


class WorkerID(UniqueID):
    """A worker process, or a driver."""

    __slots__ = ()


class FunctionID(UniqueID):
    """A remote function's definition."""

    __slots__ = ()


class ActorClassID(UniqueID):
    """An actor class's definition."""

    __slots__ = ()


class ClusterID(UniqueID):
    """A cluster, for its whole life."""

    __slots__ = ()


class JobID(BaseID):
    """A driver's run: 4 bytes."""

    SIZE = 4
    __slots__ = ()

    @classmethod
    def from_int(cls, value: int) -> JobID:
        return cls(value.to_bytes(cls.SIZE, "big"))

    def int(self) -> int:
        return int.from_bytes(self._bytes, "big")


class ActorID(BaseID):
    """An actor: 16 bytes, the last 4 its job's."""

    SIZE = 16
    __slots__ = ()

    @property
    def job_id(self) -> JobID:
        return JobID(self._bytes[-JobID.SIZE :])


class TaskID(BaseID):
    """One task or actor call: 24 bytes, the last 16 its actor's id."""

    SIZE = 24
    __slots__ = ()

    def actor_id(self) -> ActorID:
        return ActorID(self._bytes[-ActorID.SIZE :])

    def job_id(self) -> JobID:
        return JobID(self._bytes[-JobID.SIZE :])


class PlacementGroupID(BaseID):
    """A placement group: 18 bytes, the last 4 its job's."""

    SIZE = 18
    __slots__ = ()
