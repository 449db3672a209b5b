"""Functions, classes and methods on their way to the workers: each is pickled once, and lives in the arena.

A *call record* (``calls``) says how to call something: what it is, its options that matter to who executes it, and (for
functions and classes) a reference to the pickled code. Tasks and calls name it; the code itself is shared by all call records
of equal code.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from shoal import _kernel
from shoal.core import serialization

if TYPE_CHECKING:
    from shoal._kernel import ObjectRef
    from shoal.core.native.calls import Call

logger = logging.getLogger("shoal")

BLOBS_KEPT = 512
OWN_DIGEST_BYTES = 4096
BIG_BYTES = 10_000_000
TOO_BIG_BYTES = 100_000_000

OUT_OF_BAND_VARIABLE = "RAY_allow_out_of_band_object_ref_serialization"


def qualified_name(value: Any) -> str:
    """``module.outer.<locals>.name`` of a function or class."""
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", type(value).__name__)
    return f"{getattr(value, '__module__', None) or '__main__'}.{name}"


class Exports:
    """What this process has exported in this session."""

    def __init__(self) -> None:
        self._blobs: OrderedDict[bytes, ObjectRef] = OrderedDict()
        self._code_of: dict[int, tuple[Any, ObjectRef]] = {}

    def code(self, value: Any, what: str) -> ObjectRef:
        """The reference of the pickled function or class.

        Raises TypeError naming what can't be pickled, ValueError when the pickle has more than 100 MB."""
        known = self._code_of.get(id(value))
        if known is not None:
            return known[1]
        if os.environ.get(OUT_OF_BAND_VARIABLE) == "0":
            serialization.dumps(value)  # raises for a reference that the code has captured
        try:
            fresh = _kernel.put_value(value)
        except serialization.UnpicklableError as error:
            kind, suffix = ("actor class", ".__init__") if isinstance(value, type) else ("function", "")
            raise error.named(kind, shown=f"{qualified_name(value)}{suffix}") from None
        _kernel.mark_code(fresh)
        _check_size(_kernel.record_size(fresh.record), what)
        digest = _digest(_kernel.raw_value(fresh))
        ref = self._blobs.setdefault(digest, fresh)
        if len(self._blobs) > BLOBS_KEPT:
            self._blobs.popitem(last=False)
        self._blobs.move_to_end(digest)
        if len(self._code_of) > BLOBS_KEPT:
            self._code_of.clear()
        self._code_of[id(value)] = (value, ref)
        return ref

    def call(self, call: Call) -> ObjectRef:
        """The call record: what a task's record names as its function."""
        return _kernel.function_record(call, call.told_name)


def _digest(code: bytes) -> bytes:
    """Equal for equal code. What is small is its own: OpenSSL, which hashlib loads, would be a part of every start."""
    if len(code) <= OWN_DIGEST_BYTES:
        return bytes(code)
    import hashlib

    return hashlib.sha256(code).digest()


def _check_size(size_bytes: int, what: str) -> None:
    if size_bytes > TOO_BIG_BYTES:
        raise ValueError(
            f"The {what} is too large ({size_bytes // 10**6} MB > {TOO_BIG_BYTES // 10**6} MB). "
            "Check that its definition is not implicitly capturing a large array or other object in scope. "
            "Tip: use put() to store large objects, and pass their references."
        )
    if size_bytes > BIG_BYTES:
        logger.warning(
            "The %s is very large (%d MB). Check that its definition is not implicitly capturing a large array or other "
            "object in scope. Tip: use put() to store large objects, and pass their references.",
            what,
            size_bytes // 10**6,
        )
