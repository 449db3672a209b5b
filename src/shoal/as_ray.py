"""Runs unmodified Ray programs on Shoal: every ``import ray...`` means the module of the same path in shoal.

::

    python -m shoal.as_ray FILE [ARGS]
    python -m shoal.as_ray -m MODULE [ARGS]
    python -m pytest -p shoal.as_ray ...
    import shoal.as_ray              # the first line of a program does the same

The modules are the same objects under both names (``ray.util.queue is shoal.util.queue``), in the driver and in its workers:
importing this module sets ``SHOAL_AS_RAY=1``, which worker processes inherit and answer with `install` before they run user
code. A module that Shoal does not have raises ModuleNotFoundError that names both paths; a real Ray in the same environment
is never mixed in.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ENVIRONMENT_VARIABLE = "SHOAL_AS_RAY"
ELSEWHERE = {"ray.util.state.common": "shoal.util.state.rows"}
"""Modules of Ray whose names Shoal has in a module of another name."""
USAGE = "usage: python -m shoal.as_ray FILE [ARGS] | -m MODULE [ARGS]"


def install() -> None:
    """Makes ``ray`` mean ``shoal`` in this process and in those it starts. Calling it again changes nothing.

    Raises RuntimeError when the real Ray has been imported already: its modules cannot be exchanged any more.
    """
    loaded = sys.modules.get("ray")
    if loaded is not None and loaded is not sys.modules.get("shoal"):
        where = getattr(loaded, "__file__", None)
        raise RuntimeError(f"shoal.as_ray must come before the first import of ray, but ray is imported already (from {where})")
    os.environ[ENVIRONMENT_VARIABLE] = "1"
    if not any(isinstance(finder, _RayFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _RayFinder())


def main(arguments: Sequence[str]) -> None:
    """Runs a program as ``python FILE ARGS`` or ``python -m MODULE ARGS`` would, with ``arguments`` as its command line."""
    install()
    if arguments[:1] == ["-m"] and len(arguments) > 1:
        _run_module(arguments[1], list(arguments[2:]))
    elif arguments and not arguments[0].startswith("-"):
        _run_file(arguments[0], list(arguments[1:]))
    else:
        raise SystemExit(USAGE)


class _RayFinder(importlib.abc.MetaPathFinder):
    """Answers for ``ray`` and everything below it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        top, _, rest = fullname.partition(".")
        if top != "ray":
            return None
        name = ELSEWHERE.get(fullname) or (f"shoal.{rest}" if rest else "shoal")
        original = sys.modules[name].__spec__ if name in sys.modules else importlib.util.find_spec(name)
        if original is None:
            raise ModuleNotFoundError(
                f"No module named {fullname!r}: it stands for {name!r}, which shoal does not have", name=fullname
            )
        is_package = original.submodule_search_locations is not None
        return importlib.machinery.ModuleSpec(fullname, _RayLoader(name), origin=original.origin, is_package=is_package)


class _RayLoader(importlib.abc.Loader):
    """Puts the shoal module itself under the ray name: the import system takes what stands there after `exec_module`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = importlib.import_module(self.name)
        # The import system binds a module it loads in its parent. What the parent has in its place may be a function of the
        # same name (placement_group), so modules that are loaded already must not be loaded again under their ray name.
        for name in [each for each in sys.modules if each.startswith(f"{self.name}.")]:
            sys.modules.setdefault(f"ray.{name.removeprefix('shoal.')}", sys.modules[name])

    def get_code(self, fullname: str) -> CodeType | None:
        """For ``python -m ray.something``."""
        spec = importlib.util.find_spec(self.name)
        code: CodeType | None = spec.loader.get_code(self.name) if spec and hasattr(spec.loader, "get_code") else None  # type: ignore[union-attr]
        return code


def _run_file(file: str, arguments: list[str]) -> None:
    try:
        source = Path(file).read_bytes()
    except OSError as error:
        raise SystemExit(f"python -m shoal.as_ray cannot read {file!r}: {error.strerror}") from None
    sys.argv[:] = [file, *arguments]
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = str(Path(file).resolve().parent)
    program = _new_main()
    program.__file__ = file
    exec(compile(source, file, "exec"), program.__dict__)


def _run_module(name: str, arguments: list[str]) -> None:
    # As with `python -m`, the folder of the caller stays first on the path.
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        name = f"{name}.__main__"
        spec = importlib.util.find_spec(name)
    code = spec.loader.get_code(name) if spec is not None and hasattr(spec.loader, "get_code") else None  # type: ignore[union-attr]
    if spec is None or code is None:
        raise SystemExit(f"python -m shoal.as_ray: there is no module {name!r} that can be run")
    sys.argv[:] = [spec.origin or name, *arguments]
    program = _new_main()
    program.__spec__ = spec
    program.__loader__ = spec.loader
    program.__package__ = spec.parent
    program.__file__ = spec.origin
    exec(code, program.__dict__)


def _new_main() -> ModuleType:
    # The module stays in place when the program's last line has run, since its threads and exit handlers still use it.
    program = ModuleType("__main__")
    program.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = program
    return program


if __name__ == "__main__":
    # This file runs as __main__, which the program is about to become; the finder must live in the importable module.
    importlib.import_module("shoal.as_ray").main(sys.argv[1:])
else:
    install()
