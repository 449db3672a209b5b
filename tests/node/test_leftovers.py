from __future__ import annotations

import os
import subprocess

from shoal.node import leftovers

from .driver_process import wait_until
from .installing import is_running


def test_the_dead_are_reaped_unless_somebody_waits_for_them() -> None:
    orphan, own = subprocess.Popen(["true"]), subprocess.Popen(["true"])
    wait_until(lambda: not is_running(orphan.pid) and not is_running(own.pid), 5)
    leftovers.reap_orphans(known={own.pid})
    assert not os.path.exists(f"/proc/{orphan.pid}") and os.path.exists(f"/proc/{own.pid}")
    assert own.wait() == 0
    orphan.wait()


def test_only_programs_of_the_workers_named_are_killed() -> None:
    def program(worker: str) -> subprocess.Popen[bytes]:
        variables = {**os.environ, "SHOAL_SESSION": "session-of-this-test", "SHOAL_WORKER": worker}
        return subprocess.Popen(["sleep", "100"], env=variables)

    dead, living = program("3:100"), program("4:101")
    try:
        assert leftovers.kill_session("session-of-this-test", {os.getpid()}, workers={"3:100"}) == 1
        assert dead.wait() == -9 and living.poll() is None
        assert leftovers.kill_session("session-of-this-test", {os.getpid()}) == 1
        assert living.wait() == -9
    finally:
        for process in (dead, living):
            process.kill()
            process.wait()
