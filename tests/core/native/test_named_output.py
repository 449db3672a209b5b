"""What workers print and log, as the driver shows it: sessions of their own."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from typing import TYPE_CHECKING

import pytest

import shoal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def shown(capfd: pytest.CaptureFixture[str]) -> Callable[[str], re.Match[str]]:
    """Waits for a line that matches, on the driver's output or errors."""
    seen = ""

    def wait(pattern: str) -> re.Match[str]:
        nonlocal seen
        deadline_s = time.monotonic() + 20
        while time.monotonic() < deadline_s:
            out, err = capfd.readouterr()
            seen += out + err
            found = re.search(pattern, seen, re.MULTILINE)
            if found:
                return found
            time.sleep(0.01)  # polling: what it waits for is in another process
        raise AssertionError(f"no line matches {pattern!r}; there were:\n{seen}")

    return wait


@pytest.fixture
def _session() -> Iterator[None]:
    shoal.init(num_cpus=1)
    yield
    shoal.shutdown()


@pytest.mark.usefixtures("_session")
def test_the_first_line_of_a_session_carries_the_number_of_its_process(shown: Callable[[str], re.Match[str]]) -> None:
    """The first worker runs before its zygote has told the daemon of it."""

    @shoal.remote
    def speak() -> int:
        print("first")
        return os.getpid()

    pid = shoal.get(speak.remote())
    shown(rf"^\(speak pid={pid}\) first$")


@pytest.mark.usefixtures("_session")
def test_a_line_carries_the_name_of_its_task(shown: Callable[[str], re.Match[str]]) -> None:
    @shoal.remote
    def speak(text: str) -> None:
        print(text, end="")
        print(" and more")

    shoal.get([speak.remote("one"), speak.options(name="nick").remote("two"), speak.remote("three")])
    shown(r"^\(speak pid=\d+\) one and more$")
    shown(r"^\(nick pid=\d+\) two and more$")
    shown(r"^\(speak pid=\d+\) three and more$")


@pytest.mark.usefixtures("_session")
def test_output_without_the_end_of_its_line_is_shown_while_its_task_runs(shown: Callable[[str], re.Match[str]]) -> None:
    @shoal.remote
    class Gate:
        opened = False

        def open(self) -> None:
            self.opened = True

        def is_open(self) -> bool:
            return self.opened

    @shoal.remote
    def speak(gate: shoal.actor.ActorHandle) -> None:
        print("not", "yet", end=" ")
        while not shoal.get(gate.is_open.remote()):
            time.sleep(0.01)  # polling: what it waits for is in another process
        print("done")

    gate = Gate.remote()
    running = speak.remote(gate)
    shown(r"^\(speak pid=\d+\) not yet $")
    shoal.get([gate.open.remote(), running])
    shown(r"^\(speak pid=\d+\) done$")


@pytest.mark.usefixtures("_session")
def test_a_line_carries_the_class_or_the_repr_of_its_actor(shown: Callable[[str], re.Match[str]]) -> None:
    class Speaker:
        def speak(self) -> None:
            print("spoken")

    class Named(Speaker):
        def __repr__(self) -> str:
            return "Named(3)"

    plain, named = shoal.remote(Speaker).remote(), shoal.remote(Named).remote()
    shoal.get([plain.speak.remote(), named.speak.remote()])
    shown(r"^\(Speaker pid=\d+\) spoken$")
    shown(r"^\(Named\(3\) pid=\d+\) spoken$")


def test_workers_log_as_the_job_asks(shown: Callable[[str], re.Match[str]]) -> None:
    config = shoal.LoggingConfig(encoding="JSON", log_level="INFO")
    shoal.init(num_cpus=1, logging_config=config)

    @shoal.remote
    def log() -> str | None:
        logging.getLogger("of.mine").info("logged")
        return shoal.get_runtime_context().get_task_id()

    try:
        task_id = shoal.get(log.remote())
        record = json.loads(shown(r"^(\{.*\"logged\".*\})$").group(1))
    finally:
        shoal.shutdown()
        root = logging.getLogger()
        for handler in [each for each in root.handlers if getattr(each, "is_of_logging_config", False)]:
            root.removeHandler(handler)
        root.setLevel(logging.WARNING)
    assert (record["levelname"], record["task_name"]) == ("INFO", "log")
    assert record["task_id"] == task_id
