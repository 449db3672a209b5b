from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import Any

import pytest

import shoal
from shoal.util import rpdb

pytestmark = pytest.mark.usefixtures("cluster")


@shoal.remote
def stops() -> int:
    value = 20
    rpdb.set_trace()
    return value + 1


@shoal.remote
def raises(value: int) -> int:
    raise ValueError(f"from {value}")


@shoal.remote
def raises_later(value: int) -> Iterator[int]:
    yield value
    raise ValueError(f"from {value}")


@shoal.remote
class Raises:
    async def call(self, value: int) -> int:
        raise ValueError(f"from {value}")


def attached(commands: str) -> str:
    deadline_s = time.monotonic() + 10
    while not rpdb.open_breakpoints() and time.monotonic() < deadline_s:
        time.sleep(0.01)  # another process makes the socket: there is no event to wait for
    output = io.StringIO()
    rpdb.attach(rpdb.open_breakpoints()[0], io.StringIO(commands), output)
    return output.getvalue()


def test_a_task_waits_at_its_breakpoint_until_it_is_told_to_go_on() -> None:
    ref = stops.remote()
    assert "20" in attached("p value\nvalue = 41\ncontinue\n")
    assert shoal.get(ref, timeout=30) == 42


POST_MORTEM: dict[str, Any] = {"runtime_env": {"env_vars": {"RAY_DEBUG_POST_MORTEM": "1"}}}


@pytest.mark.parametrize("how", ["task", "stream", "async call"])
def test_with_the_variable_set_what_raises_waits_for_a_debugger(how: str) -> None:
    items: Any = None
    if how == "task":
        ref = raises.options(**POST_MORTEM).remote(5)
    elif how == "async call":
        actor = Raises.options(**POST_MORTEM).remote()
        ref = actor.call.remote(5)
    else:
        items = raises_later.options(**POST_MORTEM).remote(5)
        assert shoal.get(next(items), timeout=20) == 5
    shown = attached("p value * 100\ncontinue\n")
    assert "500" in shown
    with pytest.raises(ValueError, match="from 5"):
        shoal.get(ref if items is None else next(items), timeout=20)


def test_without_it_nothing_waits() -> None:
    with pytest.raises(ValueError, match="from 6"):
        shoal.get(raises.remote(6), timeout=20)
