"""How many threads the libraries of this process use for one computation: BLAS, OpenMP, torch, numexpr.

Each reads its variable when it is loaded. A worker is a fork, and has many of them loaded from the start: when the variables
change then, ``obey_variables`` tells those libraries."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

OMP = "OMP_NUM_THREADS"
VARIABLES = (OMP, "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")

# Parts of a shared library's file name -> the variable of its own, and the functions that set its number of threads. Those of
# OpenMP do so for the thread that calls them.
_LIBRARIES = {
    "openblas": (
        "OPENBLAS_NUM_THREADS",
        (
            "openblas_set_num_threads",
            "openblas_set_num_threads64_",
            "scipy_openblas_set_num_threads",
            "scipy_openblas_set_num_threads64_",
        ),
    ),
    "libmkl_rt": ("MKL_NUM_THREADS", ("MKL_Set_Num_Threads",)),
    "libgomp": (OMP, ("omp_set_num_threads",)),
    "libiomp": (OMP, ("omp_set_num_threads",)),
    "libomp": (OMP, ("omp_set_num_threads",)),
}
# Modules with libraries of their own inside: their variable, and the function.
_MODULES = {"torch": (OMP, "set_num_threads"), "numexpr": ("NUMEXPR_NUM_THREADS", "set_num_threads")}

_found: dict[str, list[tuple[str, Callable[[int], Any]]]] = {}  # by the library's path
_modules_seen = 0


def current_variables() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in VARIABLES}


def set_variables(threads: int) -> None:
    """For libraries that are loaded later, and for child processes."""
    os.environ.update(dict.fromkeys(VARIABLES, str(threads)))


def obey_variables() -> None:
    """The libraries that are loaded already do what the variables say now; what they do not say stays as it is."""
    for variable, set_threads in _setters():
        threads = _wanted(variable, os.environ)
        if threads:
            set_threads(threads)


def limit_native_threads(threads: int) -> None:
    """From now on BLAS, OpenMP, torch and numexpr use at most ``threads`` threads in this process, loaded or not. (Of OpenMP
    libraries that are loaded, in the thread that calls this.) Raises ValueError unless ``threads`` is at least 1."""
    if threads < 1:
        raise ValueError(f"threads must be >= 1, but got threads={threads}")
    set_variables(threads)
    obey_variables()


def _wanted(variable: str, environment: Mapping[str, str]) -> int:
    """0: nobody has said. OMP_NUM_THREADS may be a list, for regions within regions."""
    text = (environment.get(variable) or environment.get(OMP) or "").partition(",")[0].strip()
    return int(text) if text.isdigit() else 0


def _setters() -> Iterator[tuple[str, Callable[[int], Any]]]:
    global _modules_seen
    if len(sys.modules) != _modules_seen:  # else nothing was loaded since the last look
        _modules_seen = len(sys.modules)
        for path in _loaded_libraries():
            if path not in _found:
                _found[path] = list(_functions_of(path))
    for functions in _found.values():
        yield from functions
    for name, (variable, function) in _MODULES.items():
        found = getattr(sys.modules.get(name), function, None)
        if found is not None:
            yield variable, found


def _loaded_libraries() -> set[str]:
    with open("/proc/self/maps") as maps:
        paths = {line[line.index("/") :].rstrip("\n") for line in maps if "/" in line}
    return {path for path in paths if any(part in os.path.basename(path) for part in _LIBRARIES)}


def _functions_of(path: str) -> Iterator[tuple[str, Callable[[int], Any]]]:
    import ctypes

    name = os.path.basename(path)
    variable, functions = next(found for part, found in _LIBRARIES.items() if part in name)
    try:
        library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    except OSError:
        return  # a file of that name that is mapped, but is no library
    for each in functions:
        function = getattr(library, each, None)
        if function is not None:
            function.argtypes, function.restype = (ctypes.c_int,), None
            yield variable, function
