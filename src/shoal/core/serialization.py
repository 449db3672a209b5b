"""Pickling: what the kernel's own encodings do not take. cloudpickle for functions and classes of ``__main__`` and closures,
plain pickle's machinery for the rest, protocol 5 with buffers out of band.

Called by the kernel (see ``shoal.core.native.hooks``); references met on the way are collected by the kernel itself.
"""

from __future__ import annotations

import io
import pickle
import types
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle

from shoal import exceptions
from shoal.core import torch_tensors

if TYPE_CHECKING:
    from collections.abc import Callable


_HIDDEN_FILE_NAME = "<dynamic-code>"  # what newer versions of cloudpickle put in its place


class _Custom(NamedTuple):
    serializer: Callable[[Any], Any]
    deserializer: Callable[[Any], Any]


_custom: dict[type, _Custom] = {}


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle with the serializers of :func:`register_serializer`."""

    def reducer_override(self, obj: Any) -> Any:
        custom = _custom.get(type(obj))
        if custom is not None:
            return _load_custom, (custom.deserializer, custom.serializer(obj))
        if type(obj) is types.CodeType:
            return _reduce_code(obj)
        if torch_tensors.is_tensor(obj):
            reduced = torch_tensors.reduce(obj)
            if reduced is not None:
                return reduced
        return super().reducer_override(obj)


class UnpicklableError(TypeError):
    """A value that can't be sent. ``role``: what it was to be ("value", "put value", "argument", "function", "actor class")."""

    def __init__(self, value: Any, reason: Exception, role: str = "value", purpose: str = "", shown: str = "") -> None:
        self.value, self.reason, self.role = value, reason, role
        shown = shown or _short(value)
        path = unpicklable_part(value)
        rule = "=" * 80
        lines = [
            f"Could not serialize the {role} {shown}{purpose}:",
            rule,
            f"Checking Serializability of {shown}",
            rule,
            f"{type(reason).__name__}: {reason}",
            *([f"The part that can't be pickled is {path}."] if path else []),
            "Look into it with shoal.util.inspect_serializability(value). Make what can't be sent inside of the task,",
            "or give its class a __reduce__ or a serializer (shoal.util.register_serializer).",
            rule,
        ]
        super().__init__("\n".join(lines))

    def named(self, role: str, purpose: str = "", shown: str = "") -> UnpicklableError:
        """The same for a value whose role is known."""
        return UnpicklableError(self.value, self.reason, role, purpose, shown)

    def __reduce__(self) -> tuple[Any, ...]:
        return TypeError, self.args  # the value can't go along


def serialize(value: Any) -> bytes | tuple[bytes, list[memoryview]]:
    """The pickle of ``value``, and its large buffers beside it.

    Raises TypeError that names the part which cannot be pickled."""
    buffers: list[memoryview] = []

    def take(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if not view.nbytes:
            return True
        buffers.append(view)
        return False

    try:
        if type(value) in _plain_types and not _custom:
            stream = pickle.dumps(value, protocol=5, buffer_callback=take)
        else:
            file = io.BytesIO()
            _Pickler(file, protocol=5, buffer_callback=take).dump(value)
            stream = file.getvalue()
    except RecursionError:
        raise
    except Exception as error:
        raise UnpicklableError(value, error) from None
    return (stream, buffers) if buffers else stream


def dumps(value: Any) -> bytes:
    """``value`` as one pickle, for what travels outside of the arena. References in it stay for the life of this process."""
    file = io.BytesIO()
    _Pickler(file, protocol=5).dump(value)
    return file.getvalue()


def dumps_error(error: BaseException) -> bytes:
    """An exception as the kernel's ``fail_record`` and ``close_queue`` want it."""
    return cloudpickle.dumps(error, protocol=5)  # type: ignore[no-any-return]


loads = pickle.loads

exceptions.use_pickler(dumps)


def register_serializer(cls: type, *, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]) -> None:
    """Instances of ``cls`` are pickled as ``serializer(instance)`` and restored by ``deserializer``, in this process.

    Raises TypeError unless ``cls`` is a class and both functions are callable."""
    if not isinstance(cls, type):
        raise TypeError(f"cls must be a class, but got cls={cls!r}")
    for name, function in (("serializer", serializer), ("deserializer", deserializer)):
        if not callable(function):
            raise TypeError(f"{name} must be callable, but got {name}={function!r}")
    _custom[cls] = _Custom(serializer, deserializer)


def deregister_serializer(cls: type) -> None:
    """Undoes :func:`register_serializer`. Does nothing for a class that has none."""
    _custom.pop(cls, None)


def clear_serializers() -> None:
    """Forgets every custom serializer: they belong to one session."""
    _custom.clear()


def _reduce_code(code: types.CodeType) -> tuple[Any, ...]:
    """As cloudpickle does it, but with the file's name: tracebacks of workers are to show it, and its lines."""
    make, parts = cloudpickle.Pickler.dispatch_table[types.CodeType](code)
    return make, tuple(code.co_filename if part == _HIDDEN_FILE_NAME else part for part in parts)


def _load_custom(deserializer: Callable[[Any], Any], state: Any) -> Any:
    return deserializer(state)


# Types whose pickle names nothing of __main__, whatever is in them.
_plain_types: set[type] = {bytearray, complex, range}


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return text if len(text) <= 120 else f"{text[:117]}..."


def unpicklable_part(value: Any, depth: int = 6) -> str:
    """Which attribute, item or closure variable of ``value`` keeps it from being pickled: ``value.lock``; "" for itself."""
    path, current = "value", value
    for _ in range(depth):
        found = _failing_child(current)
        if found is None:
            break
        step, current = found
        path += step
    return "" if current is value else f"{path} = {_short(current)}"


def _failing_child(value: Any) -> tuple[str, Any] | None:
    for step, child in _children(value):
        try:
            cloudpickle.dumps(child)
        except Exception:
            return step, child
    return None


def _children(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"[{key!r}]", child) for key, child in value.items()]
    if isinstance(value, (list, tuple)):
        return [(f"[{index}]", child) for index, child in enumerate(value)]
    found: list[tuple[str, Any]] = []
    closure = getattr(value, "__closure__", None)
    if closure:
        for name, cell in zip(value.__code__.co_freevars, closure, strict=True):
            try:
                found.append((f".<closure variable {name}>", cell.cell_contents))
            except ValueError:  # a cell that is not filled yet
                continue
    code = getattr(value, "__code__", None)
    if code is not None:
        names = getattr(value, "__globals__", {})
        found += [(f".<global {name}>", names[name]) for name in code.co_names if name in names]
    state = getattr(value, "__dict__", None)
    if isinstance(state, dict):
        found += [(f".{name}", child) for name, child in state.items()]
    return found
