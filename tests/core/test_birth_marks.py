"""Forks of workers carry their worker's tags although they never execute a program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import shoal
from shoal.core import birth_marks


@pytest.fixture
def cluster() -> Iterator[None]:
    shoal.init(num_cpus=1, log_to_driver=False)
    yield
    shoal.shutdown()


@shoal.remote
def environment_of_a_fork() -> tuple[list[bytes], str]:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(read, 1)
        os._exit(0)
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"), os.environ[birth_marks.WORKER]
    finally:
        os.write(write, b"x")
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)


@pytest.mark.usefixtures("cluster")
def test_a_fork_shows_the_tags_of_its_worker() -> None:
    environment, worker = shoal.get(environment_of_a_fork.remote())
    assert f"{birth_marks.WORKER}={worker}".encode() in environment
    [session] = [item for item in environment if item.startswith(f"{birth_marks.SESSION}=".encode())]
    assert len(session.partition(b"=")[2]) == 16 and b"-" not in session


def test_a_process_without_placeholders_is_left_as_it_is() -> None:
    before = Path("/proc/self/environ").read_bytes()
    assert not birth_marks.mark_process("0" * 16, "1:2")
    assert Path("/proc/self/environ").read_bytes() == before


@shoal.remote
def mark_of_a_program_without_environment() -> tuple[str | None, str]:
    program = subprocess.Popen([sys.executable, "-SE", "-c", "input()"], env={}, stdin=subprocess.PIPE, start_new_session=True)
    try:
        return birth_marks.inherited_mark(program.pid), os.environ[birth_marks.WORKER]
    finally:
        program.communicate(b"end\n")


@pytest.mark.usefixtures("cluster")
def test_a_program_without_our_environment_shows_whose_it_is() -> None:
    found, worker = shoal.get(mark_of_a_program_without_environment.remote())
    assert found == worker


def test_a_process_of_no_worker_shows_no_mark() -> None:
    assert birth_marks.inherited_mark(os.getpid()) is None


def test_a_process_that_is_gone_shows_no_mark() -> None:
    program = subprocess.Popen(["true"])
    program.wait()
    assert birth_marks.inherited_mark(program.pid) is None


def test_the_mark_holds_the_biggest_numbers_of_slots_and_processes() -> None:
    program = """
import os
from shoal.core import birth_marks
print(birth_marks.mark_descendants(16383, 4194303), birth_marks.inherited_mark(os.getpid()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "True 16383:4194303\n"
