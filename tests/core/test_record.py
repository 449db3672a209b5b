from __future__ import annotations

import pickle
from typing import Any

import pytest

from shoal.core.record import Record


class Point(Record):
    x: int
    y: int = 2


class Named(Point):
    name: str = ""


class Kept(Record, by_identity=True):
    value: list[int]


def test_fields_are_given_by_place_or_name_and_have_defaults() -> None:
    assert (Point(1).x, Point(1).y, Point(1, 3).y, Point(y=5, x=4).values()) == (1, 2, 3, (4, 5))
    assert Named.fields == ("x", "y", "name") and Named(1, name="n").values() == (1, 2, "n")


@pytest.mark.parametrize(("args", "values"), [((), {}), ((1, 2, 3), {}), ((1,), {"x": 1}), ((1,), {"z": 1}), ((), {"y": 1})])
def test_wrong_fields_are_refused(args: tuple[Any, ...], values: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="Point"):
        Point(*args, **values)


def test_a_record_does_not_change() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="x was set to 5"):
        point.x = 5  # type: ignore[misc]
    with pytest.raises(AttributeError, match="x was deleted"):
        del point.x
    assert point.replaced(x=5) == Point(5) and point.x == 1


def test_records_are_equal_by_type_and_values() -> None:
    assert Point(1) == Point(1, 2) and hash(Point(1)) == hash(Point(1, 2)) and Point(1) != Point(2)
    assert Point(1) != Named(1) and Point(1) != (1, 2)
    assert repr(Named(1, name="n")) == "Named(x=1, y=2, name='n')"


def test_a_record_may_be_compared_by_identity() -> None:
    kept = Kept([1])
    assert kept == kept and kept != Kept([1]) and len({kept, Kept([1])}) == 2


def test_a_record_survives_pickling() -> None:
    assert pickle.loads(pickle.dumps(Named(3, name="n"))) == Named(3, name="n")
