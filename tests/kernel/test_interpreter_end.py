"""A thread that waits in the kernel when the interpreter ends must not take the process down with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import threading, time
from shoal import _kernel

class Slow:
    def __del__(self, sleep=time.sleep):
        sleep(0.4)  # the interpreter is ending; meanwhile the wait below is over, and asks for the GIL

slow = Slow()
_kernel.create_arena(1 << 26, "/nowhere", 1, b"12345678")
threading.Thread(target=_kernel.{wait}, args=(0.2,), daemon=True).start()
print("ends")
"""


@pytest.mark.parametrize("wait", ["wait_doorbell", "watch_step"])
def test_a_thread_that_waits_when_the_interpreter_ends_does_no_harm(wait: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(wait=wait)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ends\n", "")
