from __future__ import annotations

import io
import time

import pytest

import shoal
from shoal.util import rpdb

pytestmark = pytest.mark.usefixtures("cluster")


@shoal.remote
def stops() -> int:
    value = 20
    rpdb.set_trace()
    return value + 1


def test_a_task_waits_at_its_breakpoint_until_it_is_told_to_go_on() -> None:
    ref = stops.remote()
    deadline_s = time.monotonic() + 10
    while not rpdb.open_breakpoints() and time.monotonic() < deadline_s:
        time.sleep(0.01)  # another process makes the socket: there is no event to wait for
    output = io.StringIO()
    rpdb.attach(rpdb.open_breakpoints()[0], io.StringIO("p value\nvalue = 41\ncontinue\n"), output)
    assert "20" in output.getvalue()
    assert shoal.get(ref, timeout=30) == 42
