"""Making a virtual environment that sees the driver's packages, and the commands that install into it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import site
import sys
import venv

from shoal.node.environment_store import Recipe


def make_virtual_environment(folder: str) -> str:
    """Its interpreter. The driver's packages are visible, also when the driver is in a virtual environment itself, whose
    packages the new one, made from the base interpreter, would not see by itself."""
    inside = sys.prefix != sys.base_prefix
    builder = venv.EnvBuilder(system_site_packages=not inside or _sees_system_packages(), symlinks=True, with_pip=False)
    builder.create(folder)
    if inside:
        lines = [f"import site; site.addsitedir({path!r})\n" for path in site.getsitepackages()]
        with open(os.path.join(packages_folder(folder), "_driver_packages.pth"), "w", encoding="utf-8") as file:
            file.writelines(lines)
    return os.path.join(folder, "bin", "python")


def packages_folder(folder: str) -> str:
    """Of a virtual environment of this version of Python."""
    return os.path.join(folder, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")


def find_uv(path: str) -> list[str] | None:
    """The command uv: of this interpreter, else on ``path``; None when there is none."""
    if importlib.util.find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    found = shutil.which("uv", path=path)
    return [found] if found else None


def install_commands(recipe: Recipe, folder: str, python: str, requirements: str, uv: list[str]) -> list[list[str]]:
    """What to run, one after the other. ``uv``: the command, when no version of it is asked for."""
    pip = [python, "-m", "pip"]
    quiet = ["--disable-pip-version-check", "--no-input"]
    commands = []
    needs_pip = recipe.installer == "pip" or recipe.version
    if needs_pip and importlib.util.find_spec("pip") is None:  # else the environment sees the driver's
        commands.append([python, "-m", "ensurepip", "--default-pip"])
    if recipe.version:
        commands.append([*pip, "install", *quiet, f"{recipe.installer}{recipe.version}"])
    if recipe.installer == "pip":
        commands.append([*pip, "install", *quiet, *recipe.options, "-r", requirements])
        if recipe.check:
            commands.append([*pip, "check", *quiet])
        return commands
    uv = uv or [os.path.join(folder, "bin", "uv")]
    commands.append([*uv, "pip", "install", "--python", python, *recipe.options, "-r", requirements])
    if recipe.check:
        commands.append([*uv, "pip", "check", "--python", python])
    return commands


def _sees_system_packages() -> bool:
    with open(os.path.join(sys.prefix, "pyvenv.cfg"), encoding="utf-8") as file:
        settings = dict(line.partition("=")[::2] for line in file.read().replace(" ", "").splitlines())
    return settings.get("include-system-site-packages", "").lower() == "true"
