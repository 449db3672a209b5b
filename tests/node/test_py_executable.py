"""Workers under another interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

import shoal
from shoal.exceptions import RuntimeEnvSetupError

LIMIT_S = 30


@pytest.fixture(scope="module", autouse=True)
def _session() -> Iterator[None]:
    shoal.init(num_cpus=2, log_to_driver=False)
    yield
    shoal.shutdown()


@shoal.remote
def variable(name: str) -> str | None:
    return os.environ.get(name)


@shoal.remote
def executable() -> str:
    return sys.executable


def program(folder: Path, text: str) -> str:
    path = folder / "python_of_test"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_command_with_arguments_starts_the_workers() -> None:
    environment = {"py_executable": f"env SHOAL_TEST_STARTED_BY=env {sys.executable}", "env_vars": {"SHOAL_TEST_OWN": "1"}}
    names = ("SHOAL_TEST_STARTED_BY", "SHOAL_TEST_OWN")
    refs = [variable.options(runtime_env=environment).remote(name) for name in names]
    assert shoal.get(refs, timeout=LIMIT_S) == ["env", "1"]
    assert shoal.get(variable.remote("SHOAL_TEST_STARTED_BY"), timeout=LIMIT_S) is None


def test_an_actor_runs_under_it_too(tmp_path: Path) -> None:
    @shoal.remote(runtime_env={"py_executable": program(tmp_path, f'SHOAL_TEST_STARTED_BY=script exec {sys.executable} "$@"')})
    class Holder:
        def variable(self) -> str | None:
            return os.environ.get("SHOAL_TEST_STARTED_BY")

    assert shoal.get(Holder.remote().variable.remote(), timeout=LIMIT_S) == "script"


def test_packages_are_those_of_the_interpreter(tmp_path: Path) -> None:
    venv.EnvBuilder(symlinks=True).create(tmp_path / "other")
    python = str(tmp_path / "other" / "bin" / "python")
    (packages,) = (tmp_path / "other").glob("lib/python*/site-packages")
    (packages / "only_in_the_other.py").write_text("VALUE = 3")
    # Shoal and what it needs, as if they had been installed there, but nothing else of this interpreter.
    for name in ("shoal", "cloudpickle", "msgspec"):
        (packages / name).symlink_to(Path(__import__(name).__file__ or "").parent)

    @shoal.remote(runtime_env={"py_executable": python})
    def look() -> tuple[int, str, bool]:
        import importlib.util

        import only_in_the_other  # type: ignore[import-not-found]

        return only_in_the_other.VALUE, sys.executable, importlib.util.find_spec("pytest") is not None

    assert shoal.get(look.remote(), timeout=LIMIT_S) == (3, python, False)


def test_an_interpreter_without_shoal_is_refused(tmp_path: Path) -> None:
    venv.EnvBuilder(symlinks=True).create(tmp_path / "bare")
    with pytest.raises(RuntimeEnvSetupError, match="bare/bin/python.*can't import shoal"):
        shoal.get(executable.options(runtime_env={"py_executable": f"{tmp_path}/bare/bin/python"}).remote(), timeout=LIMIT_S)


def test_another_version_of_python_is_refused(tmp_path: Path) -> None:
    facts = '{"executable": "/usr/bin/python2.7", "implementation": "cpython", "version": [2, 7, 18], "missing": []}'
    pretends = program(tmp_path, f"echo '{facts}' > $2")
    with pytest.raises(RuntimeEnvSetupError, match=r"is cpython 2\.7 .*the driver runs cpython 3\.\d+: they must be the same"):
        shoal.get(executable.options(runtime_env={"py_executable": pretends}).remote(), timeout=LIMIT_S)


def test_what_is_no_interpreter_is_named_with_what_it_said(tmp_path: Path) -> None:
    other = program(tmp_path, "echo I am something else; exit 3")
    with pytest.raises(RuntimeEnvSetupError, match=r"no Python interpreter: it ended with code 3\nI am something else"):
        shoal.get(executable.options(runtime_env={"py_executable": other}).remote(), timeout=LIMIT_S)
    with pytest.raises(RuntimeEnvSetupError, match=r"'/no/such/python' can't be run: .*No such file"):
        shoal.get(executable.options(runtime_env={"py_executable": "/no/such/python"}).remote(), timeout=LIMIT_S)


def test_an_interpreter_that_ends_before_it_can_start_workers_fails_who_waits(tmp_path: Path) -> None:
    changes = program(tmp_path, f'case "$1" in *probe.py) exec {sys.executable} "$@";; esac; echo out of licences; exit 1')
    with pytest.raises(RuntimeEnvSetupError, match="ended before it could start workers:\nout of licences"):
        shoal.get(executable.options(runtime_env={"py_executable": changes}).remote(), timeout=LIMIT_S)


def test_a_script_of_the_working_folder_may_start_the_workers(tmp_path: Path) -> None:
    # In a driver of its own: a local folder belongs to a whole job.
    (tmp_path / "start.sh").write_text(f"SHOAL_TEST_STARTED_BY=folder {sys.executable} $@")
    source = f"""
import os, shoal
shoal.init(num_cpus=1, runtime_env={{"working_dir": {str(tmp_path)!r}, "py_executable": "bash start.sh"}})
@shoal.remote
def look():
    return os.environ["SHOAL_TEST_STARTED_BY"], os.getcwd()
print(shoal.get(look.remote(), timeout={LIMIT_S}))
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.stdout.strip() == str(("folder", str(tmp_path))), done.stderr
