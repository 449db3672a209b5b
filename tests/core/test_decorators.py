from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_engine import FakeEngine

import shoal
from shoal.actor import ActorClass
from shoal.core.remote_function import RemoteFunction


def plain(a: int) -> int:
    return a


class Plain:
    pass


def test_functions_and_classes_bare_and_with_options() -> None:
    assert isinstance(shoal.remote(plain), RemoteFunction) and isinstance(shoal.remote(num_cpus=2)(plain), RemoteFunction)
    assert isinstance(shoal.remote(Plain), ActorClass) and isinstance(shoal.remote(num_cpus=2)(Plain), ActorClass)


def test_built_in_functions_and_lambdas(engine: FakeEngine) -> None:
    assert shoal.get(shoal.remote(max).remote(1, 2)) == 2
    assert shoal.get(shoal.remote(lambda: 3).remote()) == 3


@pytest.mark.parametrize("value", [3, "x", None, plain(1)])
def test_other_things_are_refused(value: object) -> None:
    with pytest.raises(TypeError, match="must be applied to either a function or a class"):
        shoal.remote(value)


def test_twice_is_refused() -> None:
    with pytest.raises(TypeError, match="applied twice"):
        shoal.remote(shoal.remote(plain))


def test_malformed_uses_are_refused() -> None:
    for use in (lambda: shoal.remote(), lambda: shoal.remote(plain, num_cpus=2), lambda: shoal.remote(1, 2)):
        with pytest.raises(TypeError, match="The @remote decorator must be applied either with no arguments"):
            use()
    for misuse in (lambda: shoal.method(), lambda: shoal.method(3), lambda: shoal.method(plain, num_returns=2)):
        with pytest.raises(TypeError, match="The @method decorator takes options"):
            misuse()


def test_options_are_checked_where_they_are_written() -> None:
    with pytest.raises(ValueError, match="for remote functions"):
        shoal.remote(max_restarts=1)(plain)
    with pytest.raises(ValueError, match="for actors"):
        shoal.remote(max_retries=1)(Plain)
    with pytest.raises(ValueError, match="for actor methods"):
        shoal.method(num_cpus=1)
    with pytest.raises(ValueError, match="can only be used with generator"):
        shoal.method(num_returns="streaming")(plain)


def test_a_method_stays_a_function() -> None:
    assert shoal.method(plain) is plain

    def numbers(self: object) -> Iterator[int]:
        yield 1

    assert shoal.method(num_returns="streaming")(numbers) is numbers
