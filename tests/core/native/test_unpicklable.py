"""What can't be sent is refused with what it was to be, on a real session."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

import shoal

pytestmark = pytest.mark.usefixtures("cluster")

lock = threading.Lock()


@shoal.remote
def take(value: object) -> None:
    return None


@shoal.remote
class Taker:
    def __init__(self, value: object = None) -> None:
        self._value = value

    def take(self, value: object) -> None:
        return None


def capturing_function() -> Any:
    own = threading.Lock()

    @shoal.remote
    def capture() -> bool:
        return own.locked()

    return capture


def capturing_class() -> Any:
    own = threading.Lock()

    @shoal.remote
    class Capturer:
        def capture(self) -> bool:
            return own.locked()

    return Capturer


@pytest.mark.parametrize(
    ("send", "said"),
    [
        (lambda: shoal.put(lock), r"the put value <unlocked _thread.lock"),
        (
            lambda: take.remote([lock]),
            r"the argument \[<unlocked _thread.lock .*\] for a task or actor .*test_unpicklable\.take:",
        ),
        (lambda: Taker.remote(lock), r"the argument .* for a task or actor .*test_unpicklable\.Taker\.__init__:"),
        (lambda: Taker.remote().take.remote(lock), r"the argument .* for a task or actor .*test_unpicklable\.Taker\.take:"),
        (lambda: capturing_function().remote(), r"the function .*capturing_function\.<locals>\.capture:"),
        (lambda: capturing_class().remote(), r"the actor class .*capturing_class\.<locals>\.Capturer\.__init__:"),
    ],
    ids=["put", "task", "constructor", "method", "function", "class"],
)
def test_the_error_names_what_it_was_to_be(send: Callable[[], object], said: str) -> None:
    with pytest.raises(TypeError, match=f"Could not serialize {said}") as caught:
        send()
    assert "cannot pickle '_thread.lock' object" in str(caught.value)
    assert "inspect_serializability" in str(caught.value)


def test_the_part_that_fails_is_found() -> None:
    with pytest.raises(TypeError, match=r"The part that can't be pickled is value\['locks'\]\[0\] = <unlocked"):
        shoal.put({"fine": 1, "locks": [lock]})


def test_a_result_that_cannot_be_sent_fails_its_task() -> None:
    @shoal.remote
    def give() -> Any:
        return threading.Lock()

    with pytest.raises(TypeError, match=r"give\(\)(.|\n)*Could not serialize the value"):
        shoal.get(give.remote())
