from __future__ import annotations

import functools
import io
import threading
from typing import Any

import pytest

from shoal.util import deregister_serializer, inspect_serializability, register_serializer

lock_of_module = threading.Lock()


def culprits(obj: Any, **options: Any) -> tuple[bool, set[str], str]:
    out = io.StringIO()
    fine, failures = inspect_serializability(obj, print_file=out, **options)
    return fine, {failure.name for failure in failures}, out.getvalue()


def test_what_can_be_sent_has_no_failures() -> None:
    assert culprits({"a": [1, 2]}, name="value") == (True, set(), "value can be serialized.\n")


def test_the_object_itself_may_be_at_fault() -> None:
    lock = threading.Lock()
    fine, failures = inspect_serializability(lock, name="lock", print_file=io.StringIO())
    assert not fine
    [failure] = failures
    assert (failure.obj, failure.name, failure.parent) == (lock, "lock", None)
    assert repr(failure).startswith("FailTuple(lock [path=lock, obj=")


def test_a_closure_variable_is_named() -> None:
    lock = threading.Lock()

    def use() -> None:
        print(lock)

    fine, names, text = culprits(use)
    assert not fine
    assert names == {"lock (closure variable of use)"}
    assert text.splitlines()[1].startswith("    lock (closure variable of use): <unlocked _thread.lock")
    assert "Found: lock (closure variable of use)." in text


def test_a_global_is_named() -> None:
    namespace = {"lock_of_main": threading.Lock(), "__name__": "__main__"}
    exec("def use():\n    return lock_of_main", namespace)
    assert culprits(namespace["use"])[1] == {"lock_of_main (global used by use)"}


def test_a_default_is_named() -> None:
    def use(lock: Any = lock_of_module, *, other: Any = 1) -> None: ...

    assert culprits(use)[1] == {"default 0 of use"}


def test_a_method_of_a_class_is_searched() -> None:
    lock = threading.Lock()

    class Holder:
        def hold(self) -> None:
            self.lock = lock

    fine, failures = inspect_serializability(Holder, print_file=io.StringIO())
    assert not fine
    assert [failure.obj for failure in failures] == [lock]


def test_attributes_and_slots_are_named() -> None:
    class Plain:
        def __init__(self) -> None:
            self.fine = 1
            self.lock = threading.Lock()

    class Slotted:
        __slots__ = ("lock",)

        def __init__(self) -> None:
            self.lock = threading.Lock()

    assert culprits(Plain())[1] == {".lock"}
    assert culprits(Slotted())[1] == {".lock"}


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({"a": 1, "b": lock_of_module}, "['b']"),
        ([1, lock_of_module], "[1]"),
        ((lock_of_module,), "[0]"),
        (functools.partial(print, lock_of_module), "partial.args[0]"),
        (functools.partial(print, end=lock_of_module), "partial.keywords['end']"),
        ([].__class__.__call__, None),
    ],
)
def test_items_are_named(value: Any, name: str | None) -> None:
    fine, names, _ = culprits(value)
    assert (fine, names) == ((True, set()) if name is None else (False, {name}))


def test_every_culprit_is_found() -> None:
    assert culprits([threading.Lock(), threading.Lock()])[1] == {"[0]", "[1]"}


def test_the_search_stops_at_its_depth() -> None:
    value = {"a": {"b": {"c": {"d": threading.Lock()}}}}
    assert culprits(value, depth=1)[1] == {"['a']"}
    assert culprits(value, depth=4)[1] == {"['d']"}
    with pytest.raises(ValueError, match="depth must be >= 0, but got depth=-1"):
        inspect_serializability(1, depth=-1)


def test_cycles_end() -> None:
    value: dict[str, Any] = {"lock": threading.Lock()}
    value["self"] = value
    assert culprits(value, depth=10)[1] == {"['lock']"}


def test_a_broken_repr_does_not_hide_the_finding() -> None:
    class Broken:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __repr__(self) -> str:
            raise RuntimeError

    assert "whose repr raises RuntimeError" in culprits([Broken()])[2]


def test_registered_serializers_count() -> None:
    class Holder:
        def __init__(self) -> None:
            self.lock = threading.Lock()

    register_serializer(Holder, serializer=lambda holder: 1, deserializer=lambda _: Holder())
    try:
        assert culprits(Holder())[0]
    finally:
        deregister_serializer(Holder)
    assert not culprits(Holder())[0]


def test_the_path_leads_from_what_was_inspected_to_the_culprit() -> None:
    value = {"outer": [threading.Lock()]}
    _, failures = inspect_serializability(value, name="value", print_file=io.StringIO())
    [failure] = failures
    assert failure.path == ("value", "['outer']", "[0]")
    assert (failure.name, failure.parent) == ("[0]", value["outer"])
    assert repr(failure).startswith("FailTuple([0] [path=value -> ['outer'] -> [0], obj=")
