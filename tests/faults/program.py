"""Programs of their own for tests that end what they run in, and what is left of a session afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

PATIENCE_S = 40.0
PROMISE_S = 5.0
"""What is left so long after a death is left behind; what can never run must have failed by then."""


def until(condition: Callable[[], Any], within_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "never came true"
        time.sleep(0.01)  # what is waited for is in other processes


def children_named(name: str, root: psutil.Process | None = None) -> list[psutil.Process]:
    """Descendants of this process (or of ``root``) whose command line or name shows ``name``."""
    found = []
    for process in (root or psutil.Process()).children(recursive=True):
        try:
            if name in process.name() or any(name in part for part in process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


class Program:
    """A driver in a process of its own. Its sessions are in ``folder``; its processes carry a mark. ``keyboard``: what is
    typed."""

    def __init__(self, source: str, folder: Path, keyboard: str = "", environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.mark = f"SHOAL_FAULT_TEST={folder}"
        name, value = self.mark.split("=", 1)
        script = folder / "program.py"
        script.write_text(textwrap.dedent(source))
        typed = folder / "keyboard.txt"
        typed.write_text(keyboard)
        base = {**os.environ, name: value, "RAY_TMPDIR": str(folder)}
        self.process = subprocess.Popen(
            [sys.executable, str(script)],
            env={**base, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **(environment or {})},
            stdin=typed.open(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def line(self) -> str:
        """The next line of its output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def finish(self) -> tuple[int, str]:
        """Its exit status and the rest of its output."""
        text, _ = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, text

    def living(self) -> list[int]:
        """Processes that it started, at any depth, whoever is their parent now."""
        found = []
        for process in psutil.process_iter(["pid"]):
            try:
                marked = self.mark.encode() in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
                if marked and process.pid != self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
            except (OSError, psutil.NoSuchProcess):
                continue
        return found

    def sessions(self) -> list[Path]:
        return [path for path in self.folder.rglob("session_*") if path.is_dir() and not path.is_symlink()]

    def nothing_is_left(self) -> bool:
        return not self.living() and not self.sessions()
