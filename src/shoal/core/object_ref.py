"""References to objects: the kernel's type, given the methods that wait.

Engines that have a reference type of their own register it with ``register_ref_type``.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from shoal._kernel import ObjectRef as ObjectRef
from shoal.core import session
from shoal.core.ids import JobID, TaskID
from shoal.core.watching import on_sealed

if TYPE_CHECKING:
    import asyncio
    import concurrent.futures

logger = logging.getLogger("shoal")

OnSealed = Callable[[Any, Callable[[], None]], None]
"""``on_sealed(ref, callback)`` calls ``callback`` once, on some thread of this process, when the value is there."""

_ref_types: tuple[type, ...] = ()
_on_sealed: dict[type, OnSealed] = {}


def register_ref_type(ref_type: type, on_sealed: OnSealed) -> None:
    """Makes instances of ``ref_type`` references: ``get`` and ``wait`` take them, and they get the methods that wait."""
    global _ref_types
    _on_sealed[ref_type] = on_sealed
    if ref_type not in _ref_types:
        _ref_types = (*_ref_types, ref_type)
    for name, method in _METHODS.items():
        setattr(ref_type, name, method)


def is_ref(value: object) -> bool:
    """Whether ``value`` is a reference to an object."""
    return isinstance(value, _ref_types)


def future(self: Any) -> concurrent.futures.Future[Any]:
    """A concurrent future of the value. Cancelling it does not cancel the task."""
    from concurrent.futures import Future  # slow to import, and most programs make none

    result: Future[Any] = Future()

    def deliver() -> None:
        if result.set_running_or_notify_cancel():
            _deliver(self, result.set_result, result.set_exception)

    _on_sealed[type(self)](self, deliver)
    return result


def as_future(self: Any, *, loop: asyncio.AbstractEventLoop | None = None) -> asyncio.Future[Any]:
    """An asyncio future of the value. Cancelling it does not cancel the task.

    It belongs to ``loop``: by default the running loop, else the one that this thread has set, else a new one, set now."""
    event_loop = loop or _event_loop()
    result: asyncio.Future[Any] = event_loop.create_future()
    _on_sealed[type(self)](self, Delivery(self, event_loop, result))
    return result


class Delivery:
    """Puts the value of ``ref`` into ``future`` when it is called, on any thread; ``loop`` is the future's."""

    __slots__ = ("future", "loop", "ref")

    def __init__(self, ref: Any, loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]) -> None:
        self.ref = ref
        self.loop = loop
        self.future = future

    def __call__(self) -> None:
        future = self.future

        def settle(setter: Callable[[Any], None], value: Any) -> None:
            if not future.done():
                setter(value)

        try:
            _deliver(
                self.ref,
                lambda value: _on_loop(self.loop, settle, future.set_result, value),
                lambda error: _on_loop(self.loop, settle, _asyncio_exception_setter(future), error),
            )
        except RuntimeError:
            logger.debug("the event loop that awaited %r is closed", self.ref)


def _event_loop() -> asyncio.AbstractEventLoop:
    import asyncio  # slow to import; whoever calls this has it already

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a loop that is made where none runs
        try:
            return asyncio.get_event_loop()
        except RuntimeError:
            made = asyncio.new_event_loop()
            asyncio.set_event_loop(made)
            return made


def _await(self: Any) -> Generator[Any, None, Any]:
    return as_future(self).__await__()


def task_id(self: Any) -> TaskID:
    """The task that makes, or made, the object."""
    return TaskID(self.binary()[: TaskID.SIZE])


def job_id(self: Any) -> JobID:
    """The job in which the object was made."""
    return task_id(self).job_id()


def owner_address(self: Any) -> bytes:
    """Where the object's owner is."""
    return bytes(session.require_engine().request("object_facts", ref=self)["owner_address"])


def call_site(self: Any) -> str:
    """Where the reference was made; "" from engines that do not record it, as ours."""
    return str(session.require_engine().request("object_facts", ref=self)["call_site"])


def from_hex(cls: type, hex_id: str) -> Any:
    """A reference can't be made from text: nothing would keep the object alive."""
    raise NotImplementedError(f"{cls.__name__}.from_hex is not supported: a reference counts, and text does not")


def from_binary(cls: type, id: bytes) -> Any:
    """The object with these 28 bytes as its id. Raises ValueError for another number of bytes; getting the value of one that
    is not there raises ObjectLostError."""
    return cls(id)


def nil(cls: type) -> Any:
    """A reference counts an object, so there is none of nothing."""
    raise NotImplementedError(f"{cls.__name__}.nil is not supported: a reference counts an object, and here is none")


def from_random(cls: type) -> Any:
    """A reference counts an object, so there is none of nothing."""
    raise NotImplementedError(f"{cls.__name__}.from_random is not supported: a reference counts an object, and here is none")


def _repr(self: Any) -> str:
    return f"ObjectRef({self.hex()})"


def _class_getitem(cls: type, item: Any) -> type:
    return cls


def _deliver(ref: Any, set_result: Callable[[Any], None], set_exception: Callable[[BaseException], None]) -> None:
    try:
        value = session.require_engine().get([ref], 0.0)[0]
    except BaseException as error:
        set_exception(error)
    else:
        set_result(value)


def _on_loop(loop: asyncio.AbstractEventLoop, settle: Callable[..., None], setter: Callable[[Any], None], value: Any) -> None:
    loop.call_soon_threadsafe(settle, setter, value)


def _asyncio_exception_setter(result: asyncio.Future[Any]) -> Callable[[BaseException], None]:
    def set_exception(error: BaseException) -> None:
        if isinstance(error, StopIteration):  # asyncio refuses it, and a coroutine could not raise it either
            wrapped = RuntimeError("the task raised StopIteration")
            wrapped.__cause__ = error
            error = wrapped
        result.set_exception(error)

    return set_exception


_METHODS: dict[str, Any] = {
    "future": future,
    "as_future": as_future,
    "__await__": _await,
    "task_id": task_id,
    "job_id": job_id,
    "owner_address": owner_address,
    "call_site": call_site,
    "from_hex": classmethod(from_hex),
    "from_binary": classmethod(from_binary),
    "from_random": classmethod(from_random),
    "nil": classmethod(nil),
    "__repr__": _repr,
    "__class_getitem__": classmethod(_class_getitem),
}

register_ref_type(ObjectRef, on_sealed)
