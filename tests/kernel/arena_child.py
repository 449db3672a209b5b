"""Runs each test of the kernel in a fork of its own: a process has one arena, and the next test must not meet it.

A helper process has imported everything; it forks for each test and reports what the test raised.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 50.0

Body = Callable[[Path], None]


class Children:
    """The helper process. ``run`` fails as the test in the fork failed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.kernel.arena_child import serve; serve()"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, module: str, name: str, folder: Path) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps([module, name, str(folder)]), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, "the helper process has ended"
        failure = json.loads(answer)
        if failure:
            raise AssertionError(f"in the forked test:\n{failure}")

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


def in_child(body: Body) -> Callable[..., None]:
    """Makes a test of a function of a folder, run in a fork."""

    def test(arena_children: Children, tmp_path: Path) -> None:
        arena_children.run(f"tests.kernel.{Path(body.__code__.co_filename).stem}", body.__name__, tmp_path)

    functools.update_wrapper(test, body, updated=())
    del test.__wrapped__  # type: ignore[attr-defined]
    test.body = body  # type: ignore[attr-defined]
    return test


def serve() -> None:
    """Until standard input ends."""
    import shoal.core.native.hooks  # so that no fork has to

    shoal.core.native.hooks.install()
    for line in sys.stdin:
        module, name, folder = json.loads(line)
        body: Body = getattr(importlib.import_module(module), name).body
        print(json.dumps(_run_forked(body, Path(folder))), flush=True)


def _run_forked(body: Body, folder: Path) -> str:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _be_the_test(body, folder, writing)
    os.close(writing)
    text = b""
    timed_out = False
    while True:
        if not select.select([reading], [], [], LIMIT_S)[0]:
            timed_out = True
            break
        chunk = os.read(reading, 65536)
        if not chunk:
            break
        text += chunk
    os.close(reading)
    # The test and the workers it forked are one process group; a descendant may hold the pipe open.
    _end_group(pid)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if timed_out:
        return f"no end within {LIMIT_S} s\n{text.decode()}"
    if text.endswith(b"done"):
        return ""
    return text.decode() or f"the process ended with {status}"


def _end_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _be_the_test(body: Body, folder: Path, writing: int) -> Any:
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    try:
        body(folder)
        os.write(writing, b"done")
    except BaseException:
        os.write(writing, traceback.format_exc().encode())
    os._exit(0)
