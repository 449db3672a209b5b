"""Drivers in processes of their own, and everything they start: found by a tag in their environment, so nothing else is
touched."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable
from pathlib import Path

TAG = "SHOAL_TEST_TAG"
START_LIMIT_S = 20.0


class DriverProcess:
    """Runs ``code`` after a prelude that starts a session and prints its folder and its daemon's pid."""

    PRELUDE = """
        import os, subprocess, sys, time
        import shoal
        shoal.init(num_cpus=2)
        from shoal.core import session
        engine = session.current_engine()
        print(engine.node.session_folder, engine.node._daemon_pid, flush=True)
    """

    def __init__(self, code: str, folder: Path) -> None:
        self.tag = uuid.uuid4().hex
        environment = {**os.environ, TAG: self.tag, "RAY_TMPDIR": str(folder), "PYTHONPATH": python_path(folder)}
        source = textwrap.dedent(self.PRELUDE) + textwrap.dedent(code)
        self.process = subprocess.Popen(
            [sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        words = self.line().split()
        self.folder, self.daemon_pid = Path(words[0]), int(words[1])

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the driver has ended"
        return line.strip()

    @property
    def zygote_pid(self) -> int:
        # The driver is welcomed before the daemon has forked it.
        wait_until(lambda: bool(children(self.daemon_pid)), START_LIMIT_S)
        return children(self.daemon_pid)[0]

    def alive(self) -> list[int]:
        """Every process that carries the tag, zombies excluded."""
        found = []
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                environment = Path(f"/proc/{name}/environ").read_bytes()
                state = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if f"{TAG}={self.tag}".encode() in environment and state not in "ZX":
                found.append(int(name))
        return found

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        wait_until(
            lambda: not self.alive(),
            5.0,
            lambda: [
                (pid, Path(f"/proc/{pid}/cmdline").read_bytes(), Path(f"/proc/{pid}/stat").read_text()[:60])
                for pid in self.alive()
            ],
        )


def python_path(folder: Path) -> str:
    """The folder first: modules a test has written there can be imported by everybody."""
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until(condition: Callable[[], bool], timeout_s: float, state: Callable[[], object] = lambda: "") -> None:
    """Looks again and again, since what other processes do rings no bell here."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"it did not happen in time: {state()}"
        time.sleep(0.005)  # see above
