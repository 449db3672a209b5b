"""The process that makes an environment ready: installs packages, or looks at an interpreter. One for each, beside the daemon.

It leads a process group of its own, in which everything it starts stays. Who dies, and what is true then: the daemon -> SIGTERM
from the kernel, which ends the whole group; this process -> its group is killed by the daemon, and what it has built so far is
never used (see ``environment_store``)."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

from shoal.core.native.messages import Message, encode_frame
from shoal.node.environment_store import EnvironmentStore, Recipe
from shoal.node.interpreter_probe import NEEDED
from shoal.node.packages import Packages, UnusablePackage
from shoal.node.preparation_messages import NotPrepared, Prepared, Progress
from shoal.node.process_control import die_with_parent, name_process
from shoal.node.virtual_environment import find_uv, install_commands, make_virtual_environment

PROGRESS_S = 5.0
TAIL_LINES = 30
PROBE_LIMIT_S = 60.0


class PreparationFailed(Exception):
    """Why the environment cannot be made; for the user."""


def run_preparation(link: socket.socket, config: dict[str, Any], parent_pid: int) -> NoReturn:
    """``config``: ``recipe`` (fields of a Recipe), ``root`` and ``lock`` (a descriptor) to install, or ``command``,
    ``working_dir``, ``excludes`` and ``packages_folder`` to look at an interpreter; ``variables`` in both."""
    signal.signal(signal.SIGTERM, _end_group)
    die_with_parent(signal.SIGTERM, parent_pid)
    name_process("shoal-prepare")
    try:
        answer: Message = _install(link, config) if "recipe" in config else _look_at(config)
    except (PreparationFailed, UnusablePackage) as error:
        answer = NotPrepared(str(error))
    except Exception as error:
        answer = NotPrepared(f"{error}\n{traceback.format_exc()}")
    _tell(link, answer)
    os._exit(0)


def _end_group(number: int, frame: FrameType | None) -> None:
    os.killpg(0, signal.SIGKILL)


def _tell(link: socket.socket, message: Message) -> None:
    link.sendall(encode_frame(0, message))


# ---------------------------------------------------------------- pip and uv


def _install(link: socket.socket, config: dict[str, Any]) -> Prepared:
    recipe, store, lock = Recipe(**config["recipe"]), EnvironmentStore(config["root"]), config["lock"]
    waits = False
    while not store.share(recipe.digest, lock):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not waits:
                _tell(link, Progress(f"waiting for another session that installs the {recipe.label}"))
            waits = True
            fcntl.flock(lock, fcntl.LOCK_SH)  # until it is built, or its builder has died
            continue
        if not store.is_complete(recipe.digest):
            try:
                _Installation(link, recipe, store, {**os.environ, **config["variables"]}).run()
            except PreparationFailed:
                store.clear(recipe.digest)
                raise
            store.evict(keep=recipe.digest)
    return Prepared()


class _Installation:
    def __init__(self, link: socket.socket, recipe: Recipe, store: EnvironmentStore, variables: dict[str, str]) -> None:
        self._link = link
        self._recipe = recipe
        self._store = store
        self._folder = store.folder(recipe.digest)
        self._variables = variables
        self._started_s = time.monotonic()
        self._told_s = self._started_s

    def run(self) -> None:
        recipe = self._recipe
        _tell(self._link, Progress(f"installing the {recipe.label}"))
        self._store.clear(recipe.digest)
        python = make_virtual_environment(self._folder)
        requirements = os.path.join(self._folder, "requirements.txt")
        with open(requirements, "w", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in recipe.packages))
        uv: list[str] = []
        if recipe.installer == "uv" and not recipe.version:
            found = find_uv(self._variables.get("PATH", ""))
            if found is None:
                raise PreparationFailed(
                    f"the {recipe.label} needs uv, which is not installed: pip install uv, or set uv_version"
                )
            uv = found
        for command in install_commands(recipe, self._folder, python, requirements, uv):
            self._execute(command)
        self._store.complete(recipe.digest, {"label": recipe.label, "python": python})
        _tell(self._link, Progress(f"the {recipe.label} is installed, after {self._elapsed_s():.1f} s"))

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started_s

    def _execute(self, command: list[str]) -> None:
        """Raises PreparationFailed with the last lines of what it said."""
        variables = {
            **self._variables,
            "VIRTUAL_ENV": self._folder,
            "PATH": f"{self._folder}/bin{os.pathsep}{self._variables.get('PATH', os.defpath)}",
            "PIP_USER": "0",  # a setting for the user's own installations, which virtual environments refuse
            "PYTHONUNBUFFERED": "1",
        }
        print("$", shlex.join(command), flush=True)
        with tempfile.TemporaryDirectory(dir=self._folder) as empty:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=variables, cwd=empty
            )
            tail = self._follow(process)
            status = process.wait()
        if status:
            how = f"ended by signal {-status}" if status < 0 else f"exit code {status}"
            raise PreparationFailed(
                f"the {self._recipe.label} could not be installed: {shlex.join(command)} failed ({how}) "
                f"after {self._elapsed_s():.1f} s:\n" + "\n".join(tail)
            )

    def _follow(self, process: subprocess.Popen[bytes]) -> Sequence[str]:
        """Copies its output to the log until it ends; its last lines."""
        assert process.stdout is not None
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        rest = b""
        while True:
            readable, _, _ = select.select([process.stdout], [], [], PROGRESS_S)
            if readable:
                data = os.read(process.stdout.fileno(), 1 << 16)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                texts = [line.decode(errors="replace").rstrip() for line in lines]
                tail.extend(text for text in texts if text)
                print("".join(f"{text}\n" for text in texts), end="", flush=True)
            self._report(tail)
        process.stdout.close()
        if rest:
            tail.append(rest.decode(errors="replace"))
        return tail

    def _report(self, tail: Sequence[str]) -> None:
        if time.monotonic() - self._told_s >= PROGRESS_S:
            self._told_s = time.monotonic()
            last = f": {tail[-1][:200]}" if tail else ""
            _tell(self._link, Progress(f"the {self._recipe.label} is being installed, {self._elapsed_s():.0f} s so far{last}"))


# ---------------------------------------------------------------- py_executable


def _look_at(config: dict[str, Any]) -> Prepared:
    """Whether workers can run under the interpreter that ``command`` starts. Raises PreparationFailed."""
    text, cwd = config["command"], ""
    if config["working_dir"]:
        cwd = Packages(config["packages_folder"]).folder_of(config["working_dir"], "working_dir", config["excludes"])
    variables = {**os.environ, **config["variables"]}
    probe = os.path.join(os.path.dirname(os.path.abspath(__file__)), "interpreter_probe.py")
    with tempfile.TemporaryDirectory() as folder:
        answer = os.path.join(folder, "facts.json")
        try:
            done = subprocess.run(
                [*shlex.split(text), probe, answer],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=variables,
                cwd=cwd or None,
                timeout=PROBE_LIMIT_S,
            )
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise PreparationFailed(f"py_executable={text!r} can't be run: {error}") from error
        try:
            with open(answer, encoding="utf-8") as file:
                facts = json.load(file)
        except (OSError, ValueError):
            said = done.stdout.decode(errors="replace").strip()[-4000:]
            raise PreparationFailed(
                f"py_executable={text!r} is no Python interpreter: it ended with code {done.returncode}\n{said}"
            ) from None
    _check_interpreter(text, facts)
    return Prepared(cwd)


def _check_interpreter(text: str, facts: dict[str, Any]) -> None:
    expected = (sys.implementation.name, *sys.version_info[:2])
    found = (facts["implementation"], *facts["version"][:2])
    if found != expected:
        raise PreparationFailed(
            f"py_executable={text!r} is {_name(found)} ({facts['executable']}), but the driver runs {_name(expected)}: "
            "they must be the same minor version"
        )
    if facts["missing"]:
        raise PreparationFailed(
            f"py_executable={text!r} ({facts['executable']}) can't import {', '.join(facts['missing'])}: "
            f"workers need {', '.join(NEEDED)} there"
        )


def _name(version: tuple[Any, ...]) -> str:
    return f"{version[0]} {version[1]}.{version[2]}"
