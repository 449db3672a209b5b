"""What holds for every test module: it leaves nothing behind, and says so itself when it does.

After each module this fails the run for a session that is still connected, a process, a session folder, a file of shared memory
or a descriptor. Modules run in parallel, so everything is attributed: each pytest process marks the environment of what it
starts, and gives it a temporary folder of its own (``RAY_TMPDIR``).
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests import temporary_folders

if TYPE_CHECKING:
    from collections.abc import Iterator

GRACE_S = 5.0
"""What is promised after a death: 5 s later nothing is left."""

MARK_NAME = "SHOAL_TEST_PROCESS"
MARK = uuid.uuid4().hex
# Short, because the path of a unix socket may have 107 bytes.
TEMPORARY_FOLDER = temporary_folders.make("shoal-test-")
SHARED_MEMORY = Path("/dev/shm")
# Helpers that libraries keep for the life of the process; they are not of a session.
LASTING_HELPERS = ("resource_tracker", "semaphore_tracker", "forkserver", "loky")
OWN_DESCRIPTOR_KINDS = ("socket:", "pipe:", "anon_inode:", "/memfd:")

os.environ[MARK_NAME] = MARK
os.environ["RAY_TMPDIR"] = str(TEMPORARY_FOLDER)
os.environ["SHOAL_CACHE"] = str(TEMPORARY_FOLDER / "cache")
os.environ.pop("RAY_ADDRESS", None)


def pytest_unconfigure(config: pytest.Config) -> None:
    temporary_folders.remove(TEMPORARY_FOLDER)


@dataclass
class Belongings:
    """What the test process has at one moment."""

    processes: dict[int, str] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    shared_memory: set[str] = field(default_factory=set)
    descriptors: dict[int, str] = field(default_factory=dict)

    @classmethod
    def now(cls) -> Belongings:
        return cls(_marked_processes(), _session_folders(), _shared_memory_files(), _descriptors())

    def beyond(self, earlier: Belongings) -> list[str]:
        """One line for each thing that ``earlier`` did not have."""
        found = [f"process {pid}: {what}" for pid, what in self.processes.items() if pid not in earlier.processes]
        found += [f"session folder {name}" for name in sorted(self.folders - earlier.folders)]
        found += [f"shared memory {name}" for name in sorted(self.shared_memory - earlier.shared_memory)]
        found += [
            f"descriptor {number}: {what}"
            for number, what in self.descriptors.items()
            if earlier.descriptors.get(number) != what and what not in earlier.descriptors.values()
        ]
        return found


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails the module that leaves something of a session behind, after having given it the promised time."""
    before = Belongings.now()
    yield
    left = _end_session()
    remains = _remains_after_grace(before)
    if remains:
        left += remains
        _kill_marked(set(_marked_processes()) - set(before.processes))
    if left:
        pytest.fail(f"{request.node.nodeid} left behind:\n  " + "\n  ".join(left), pytrace=False)


def _end_session() -> list[str]:
    shoal = sys.modules.get("shoal")
    if shoal is None or not hasattr(shoal, "is_initialized") or not shoal.is_initialized():
        return []
    shoal.shutdown()
    return ["a session that is still connected (a test called init, or used a task, without shutdown)"]


def _remains_after_grace(before: Belongings) -> list[str]:
    deadline = time.monotonic() + GRACE_S
    while True:
        gc.collect()
        remains = Belongings.now().beyond(before)
        if not remains or time.monotonic() > deadline:
            return remains
        time.sleep(0.02)  # what is waited for is in other processes: there is nothing to be woken by


def _marked_processes() -> dict[int, str]:
    """Living processes that this one started, at any depth: they inherit its mark, also when their parent is gone."""
    mark = f"{MARK_NAME}={MARK}".encode()
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            if mark not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue  # gone meanwhile, or of another user
        if command and not any(helper in command for helper in LASTING_HELPERS):
            found[int(folder.name)] = command[:200]
    return found


def _session_folders() -> set[str]:
    return {str(path.relative_to(TEMPORARY_FOLDER)) for path in TEMPORARY_FOLDER.rglob("session_*") if path.is_dir()}


def _shared_memory_files() -> set[str]:
    return {entry.name for entry in SHARED_MEMORY.iterdir() if "shoal" in entry.name} if SHARED_MEMORY.is_dir() else set()


def _descriptors() -> dict[int, str]:
    lasting = _tracker_descriptors()
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue  # the descriptor of the listing itself
        if int(entry.name) not in lasting and target.startswith((*OWN_DESCRIPTOR_KINDS, str(TEMPORARY_FOLDER))):
            found[int(entry.name)] = target
    return found


def _tracker_descriptors() -> set[int]:
    """The pipes to the resource trackers of multiprocessing and loky, which last as long as the process."""
    modules = ("multiprocessing.resource_tracker", "joblib.externals.loky.backend.resource_tracker")
    trackers = [getattr(sys.modules.get(name), "_resource_tracker", None) for name in modules]
    return {tracker._fd for tracker in trackers if getattr(tracker, "_fd", None) is not None}


def _kill_marked(pids: set[int]) -> None:
    # So that one leak is reported once, by the module that made it. The mark was read a moment ago from each of them.
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
