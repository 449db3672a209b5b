from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

from shoal.dag import nesting


class Pair(NamedTuple):
    first: Any
    second: Any


class Mark:
    """What is looked for."""


def test_find_sees_every_container_in_order() -> None:
    a, b, c = Mark(), Mark(), Mark()
    value = [1, (a, {"key": {"inner": b}}), {a: Pair(c, 2)}]
    assert list(nesting.find(Mark, value)) == [a, b, a, c]


def test_replace_rebuilds_containers_of_the_same_kind() -> None:
    mark = Mark()
    value = {"list": [mark], "tuple": (mark, 1), "set": {mark}, "pair": Pair(mark, 2), "ordered": OrderedDict(x=mark)}
    replaced = nesting.replace(Mark, value, lambda _: "value")
    assert replaced == {
        "list": ["value"],
        "tuple": ("value", 1),
        "set": {"value"},
        "pair": Pair("value", 2),
        "ordered": {"x": "value"},
    }
    assert isinstance(replaced["pair"], Pair)
    assert isinstance(replaced["ordered"], OrderedDict)


def test_containers_without_a_mark_are_not_copied() -> None:
    value = [1, {"a": (2,)}]
    assert nesting.replace(Mark, value, lambda _: None) is value
