from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.node import virtual_environment
from shoal.node.environment_store import Recipe
from shoal.node.virtual_environment import find_uv, install_commands, make_virtual_environment, packages_folder


def recipe(installer: str, version: str = "", check: bool = False) -> Recipe:
    return Recipe(installer, ["a"], ["--no-index"], version, check, {}, {}, [], [])


def commands(asked: Recipe, uv: list[str]) -> list[str]:
    return [" ".join(command) for command in install_commands(asked, "/env", "/env/bin/python", "/env/r.txt", uv)]


def test_pip_of_the_driver_installs_into_the_environment() -> None:
    (command,) = commands(recipe("pip"), [])
    assert command == "/env/bin/python -m pip install --disable-pip-version-check --no-input --no-index -r /env/r.txt"


def test_a_version_and_a_check_are_commands_of_their_own() -> None:
    version, install, check = commands(recipe("pip", "==23.0", True), [])
    assert version.endswith("pip==23.0") and "-r /env/r.txt" in install and " pip check " in check


def test_uv_is_the_one_found_or_the_version_asked_for() -> None:
    install, check = commands(recipe("uv", check=True), ["uv"])
    assert install == "uv pip install --python /env/bin/python --no-index -r /env/r.txt"
    assert check == "uv pip check --python /env/bin/python"
    version, install = commands(recipe("uv", "==0.4.0"), [])
    assert version.endswith("uv==0.4.0") and install.startswith("/env/bin/uv pip install")


def test_a_driver_without_pip_gets_pips_own_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual_environment.importlib.util, "find_spec", lambda name: None)
    assert commands(recipe("pip"), [])[0] == "/env/bin/python -m ensurepip --default-pip"
    assert len(commands(recipe("uv"), ["uv"])) == 1


def test_uv_is_found_on_the_path_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual_environment.importlib.util, "find_spec", lambda name: None)
    assert find_uv(str(tmp_path)) is None
    (tmp_path / "uv").write_text("#!/bin/sh\n")
    os.chmod(tmp_path / "uv", 0o755)
    assert find_uv(str(tmp_path)) == [str(tmp_path / "uv")]


def test_the_environment_sees_the_drivers_packages_behind_its_own(tmp_path: Path) -> None:
    python = make_virtual_environment(str(tmp_path / "env"))
    own = Path(packages_folder(str(tmp_path / "env")))
    (own / "only_here.py").write_text("")
    (own / "msgspec.py").write_text("MINE = True")
    code = "import only_here, pytest, msgspec, sys; print(msgspec.MINE, pytest.__file__, sys.prefix)"
    told = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert told == ["True", str(pytest.__file__), str(tmp_path / "env")]
    assert sys.prefix != str(tmp_path / "env")
