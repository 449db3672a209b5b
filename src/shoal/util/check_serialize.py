"""Find what keeps a value from being sent: the attribute, closure variable or global that cannot be pickled."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from shoal.util.serialization import dumps

__all__ = ["FailureTuple", "inspect_serializability"]

_MAX_ITEMS = 1000  # of a container; more would only repeat the same finding


class FailureTuple:
    """One object that cannot be pickled: ``obj``, the ``path`` of names that leads to it from what was inspected, and the
    ``parent`` that refers to it (None at the top)."""

    def __init__(self, obj: Any, path: tuple[str, ...], parent: Any) -> None:
        self.obj = obj
        self.path = path
        self.parent = parent

    @property
    def name(self) -> str:
        """The last name of the path."""
        return self.path[-1] if self.path else "unknown"

    def __repr__(self) -> str:
        return f"FailTuple({self.name} [path={' -> '.join(self.path)}, obj={self.obj!r}, parent={self.parent!r}])"


def inspect_serializability(
    base_obj: Any, name: str | None = None, depth: int = 3, print_file: TextIO | None = None
) -> tuple[bool, set[FailureTuple]]:
    """Whether ``base_obj`` can be sent to a worker, and if not, the innermost objects that prevent it.

    Looks ``depth`` levels deep into globals and closures of functions, defaults, methods of classes, attributes, containers and
    partials. Prints what it found as a tree to ``print_file`` (None: standard output). Raises ValueError when depth < 0.
    """
    if depth < 0:
        raise ValueError(f"depth must be >= 0, but got depth={depth}")
    search = _Search()
    root = name or _name_of(base_obj)
    fails = search.visit(base_obj, (root,), None, depth)
    out = print_file or sys.stdout
    print("\n".join(_report(root, fails, search)), file=out)
    return not fails, search.failures


class _Search:
    """Walks from an object to what it refers to, and keeps the leaves that fail."""

    def __init__(self) -> None:
        self.failures: set[FailureTuple] = set()
        self.lines: list[str] = []
        self._seen: set[int] = set()

    def visit(self, obj: Any, path: tuple[str, ...], parent: Any, depth: int) -> bool:
        """True when obj fails; its line, and those of what makes it fail, are added in the order of the tree."""
        error = _pickling_error(obj)
        if error is None:
            return False
        self._seen.add(id(obj))
        self.lines.append(f"{'    ' * (len(path) - 1)}{path[-1]}: {_short(obj)} cannot be serialized: {error}")
        inner = False
        if depth > 0:
            for child_name, child in _children(obj):
                # Seen already: on the way here (a cycle), or reported under another name.
                if id(child) not in self._seen:
                    inner |= self.visit(child, (*path, child_name), obj, depth - 1)
        if not inner:
            self.failures.add(FailureTuple(obj, path, parent))
        return True


def _report(root: str, fails: bool, search: _Search) -> list[str]:
    if not fails:
        return [f"{root} can be serialized."]
    culprits = ", ".join(sorted({failure.name for failure in search.failures}))
    return [
        *search.lines,
        f"Found: {culprits}.",
        "Make such objects inside the task or actor that uses them, or give their class a __reduce__ method.",
    ]


def _children(obj: Any) -> Iterator[tuple[str, Any]]:
    """What pickling ``obj`` would pickle too, with a name that a reader can find."""
    if isinstance(obj, types.FunctionType):
        yield from _of_function(obj)
    elif isinstance(obj, types.MethodType):
        yield "__self__", obj.__self__
        yield "__func__", obj.__func__
    elif isinstance(obj, functools.partial):
        yield "partial.func", obj.func
        yield from ((f"partial.args[{index}]", value) for index, value in enumerate(obj.args))
        yield from ((f"partial.keywords[{key!r}]", value) for key, value in obj.keywords.items())
    elif isinstance(obj, type):
        for key, value in vars(obj).items():
            if key not in ("__dict__", "__weakref__"):
                yield f"{obj.__name__}.{key}", _unwrapped(value)
    elif isinstance(obj, Mapping):
        for key, value in list(obj.items())[:_MAX_ITEMS]:
            yield f"key {key!r}", key
            yield f"[{key!r}]", value
    elif isinstance(obj, (list, tuple, set, frozenset)):
        yield from ((f"[{index}]", value) for index, value in enumerate(list(obj)[:_MAX_ITEMS]))
    else:
        yield from _of_instance(obj)


def _of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    variables = inspect.getclosurevars(function)
    yield from ((f"{name} (closure variable of {function.__name__})", value) for name, value in variables.nonlocals.items())
    yield from ((f"{name} (global used by {function.__name__})", value) for name, value in variables.globals.items())
    for index, value in enumerate(function.__defaults__ or ()):
        yield f"default {index} of {function.__name__}", value
    for name, value in (function.__kwdefaults__ or {}).items():
        yield f"default of {name} of {function.__name__}", value


def _of_instance(obj: Any) -> Iterator[tuple[str, Any]]:
    for key, value in getattr(obj, "__dict__", {}).items():
        yield f".{key}", value
    for cls in type(obj).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if slot not in ("__dict__", "__weakref__") and hasattr(obj, slot):
                yield f".{slot}", getattr(obj, slot)
    # cloudpickle sends classes of __main__ and of local scopes by value, so the class itself can be at fault.
    yield f"class {type(obj).__name__}", type(obj)


def _unwrapped(value: Any) -> Any:
    if isinstance(value, (staticmethod, classmethod)):
        return value.__func__
    if isinstance(value, property):
        return value.fget
    return value


def _pickling_error(obj: Any) -> str | None:
    try:
        dumps(obj)
    except Exception as error:  # anything that a __reduce__ of the user may raise
        return f"{type(error).__name__}: {error}"
    return None


def _name_of(obj: Any) -> str:
    return str(getattr(obj, "__qualname__", None) or _short(obj))


def _short(obj: Any) -> str:
    try:
        text = repr(obj)
    except Exception as error:  # a broken __repr__ must not hide the finding
        text = f"<{type(obj).__name__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."
