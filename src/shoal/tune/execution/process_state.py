"""Whether a process that has run a trial may run another one."""

from __future__ import annotations

import os
import random
import sys
import threading

_TRIALS_MAX = 100
_GROWTH_MAX_BYTES = 256 << 20


class ProcessState:
    """What a process was like before its first trial.

    A process is clean when its trials have left no thread, no child and not much memory, and it has not served too many of
    them. ``renew`` gives the next trial what a new process would: the environment variables, and fresh random numbers. Module
    globals that a trial changed stay changed: ``reuse_actors=False`` is for trials that mind.
    """

    def __init__(self) -> None:
        self._environment = dict(os.environ)
        self._threads = threading.active_count()
        self._memory_bytes = resident_bytes()
        self._trials = 0

    def is_clean(self) -> bool:
        self._trials += 1
        multiprocessing = sys.modules.get("multiprocessing")
        return (
            self._trials < _TRIALS_MAX
            and threading.active_count() <= self._threads
            and not (multiprocessing is not None and multiprocessing.active_children())
            and "CUDA_VISIBLE_DEVICES" not in os.environ
            and resident_bytes() - self._memory_bytes < _GROWTH_MAX_BYTES
        )

    def renew(self) -> None:
        self._renew_environment()
        random.seed()
        if "numpy" in sys.modules:
            numpy = sys.modules["numpy"]
            # Without a value numpy's seed() takes ten times as long.
            numpy.random.seed(numpy.frombuffer(os.urandom(64), numpy.uint32))
        if "torch" in sys.modules:
            sys.modules["torch"].seed()

    def _renew_environment(self) -> None:
        """Changes what differs, which is less work than to set every variable."""
        now = dict(os.environ)
        for name in now.keys() - self._environment.keys():
            del os.environ[name]
        for name, value in self._environment.items():
            if now.get(name) != value:
                os.environ[name] = value


def resident_bytes() -> int:
    """Memory of this process that is in RAM; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
