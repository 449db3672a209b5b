"""Imports point down: libraries -> shoal -> core -> kernel, and the node beside the core. ARCHITECTURE.md draws the same."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src"

LAYERS = {
    "kernel": ("shoal._kernel",),
    "exceptions": ("shoal.exceptions",),
    "engine": ("shoal.core.native",),
    "core": ("shoal.core",),
    "node": ("shoal.node",),
    # The public API: the package itself, and the modules in which Ray's users look for parts of the core.
    "public": (
        "shoal.__init__",
        "shoal.actor",
        "shoal.cloudpickle",
        "shoal.dag",
        "shoal.job_config",
        "shoal.remote_function",
        "shoal.runtime_context",
        "shoal.runtime_env",
        "shoal.types",
        "shoal.util._control_plane",
        "shoal.util.native_threads",
        "shoal.util.signatures",
        "shoal.util.placement_group",
        "shoal.util.scheduling_strategies",
        "shoal.util.serialization",
    ),
    "libraries": (
        "shoal.util",
        "shoal.tune",
        "shoal.train",
        "shoal.air",
        "shoal.experimental",
        "shoal.cluster_utils",
        "shoal.workflow",
    ),
    "surfaces": ("shoal.cli", "shoal.__main__", "shoal.as_ray"),
}
"""Layer -> the modules in it, with all below them; the longest name that fits decides."""

MAY_IMPORT = {
    "kernel": set(),
    "exceptions": {"exceptions"},
    "engine": {"engine", "core", "kernel", "exceptions"},
    "core": {"core", "engine", "kernel", "exceptions"},
    "node": {"node", "engine", "core", "kernel", "exceptions"},
    "public": {"public", "core", "kernel", "exceptions"},
    "libraries": {"libraries", "public", "exceptions"},
    "surfaces": {"surfaces", "libraries", "public", "core", "exceptions"},
}

EXCEPTIONS = {
    # The kernel's own errors and pickling must be there before the first reference is made.
    ("shoal.__init__", "shoal.core.native.first_hooks"),
    # A worker of a driver that runs under as_ray makes `ray` mean `shoal` before any of the user's code runs.
    ("shoal.core.native.worker", "shoal.as_ray"),
}
"""(importing module, imported module), each with its reason."""

NOT_LOADED_BY_IMPORT = (
    "numpy",
    "pandas",
    "asyncio",
    "rich",
    "click",
    "multiprocessing",
    "shoal.node",
    "shoal.util",
    "shoal.tune",
)

LOADED_BY_IMPORT = [
    "shoal",
    "shoal._kernel",
    "shoal.core",
    "shoal.core.binding",
    "shoal.core.native",
    "shoal.core.native.first_hooks",
    "shoal.core.session",
]
SLOW = {
    *("asyncio", "cloudpickle", "ctypes", "dataclasses", "datetime", "decimal", "difflib", "hashlib", "inspect", "ipaddress"),
    *("json", "logging", "msgspec", "pathlib", "pickle", "platform", "shutil", "subprocess", "traceback", "urllib"),
}
"""Modules of a millisecond and more (with what they import) that a driver must not load before its daemon has been started."""


def layer_of(module: str) -> str:
    if module == "shoal":
        return "public"
    fits = [(len(name), layer) for layer, names in LAYERS.items() for name in names if (module + ".").startswith(name + ".")]
    assert fits, f"{module} belongs to no layer: name it in LAYERS of tests/test_layering.py"
    return max(fits)[1]


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


def is_module(name: str) -> bool:
    path = SOURCE.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists() or path.with_suffix(".pyi").exists()


def imports_of(path: Path) -> list[tuple[int, str]]:
    """(line, module) of every import of shoal, those inside functions and under TYPE_CHECKING too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            base = node.module or ""
            names = [f"{base}.{alias.name}" for alias in node.names]
            found += [(node.lineno, name if is_module(name) else base) for name in names]
    return [(line, name) for line, name in found if name.split(".")[0] == "shoal"]


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def test_every_module_belongs_to_a_layer() -> None:
    assert {layer_of(module_of(path)) for path in modules()} >= {
        "exceptions",
        "core",
        "node",
        "public",
        "libraries",
        "surfaces",
    }


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_down(layer: str) -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}: {layer} imports {name}, which is {layer_of(name)}"
        for path in modules()
        if layer_of(module_of(path)) == layer
        for line, name in imports_of(path)
        if layer_of(name) not in MAY_IMPORT[layer] and (module_of(path), name) not in EXCEPTIONS
    ]
    assert not wrong, "\n".join(wrong)


def test_exceptions_are_still_needed() -> None:
    used = {(module_of(path), name) for path in modules() for _, name in imports_of(path)}
    assert used >= EXCEPTIONS


def test_faces_of_the_core_in_libraries_hold_no_logic() -> None:
    """A module of util that may import the core only passes names on."""
    faces = [name for name in LAYERS["public"] if name.startswith("shoal.util.")]
    for face in faces:
        tree = ast.parse(SOURCE.joinpath(*face.split(".")).with_suffix(".py").read_text(encoding="utf-8"))
        logic = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))]
        assert not logic, f"{face} defines {logic[0].name}: it belongs to the core, or to a library"


def test_import_of_shoal_loads_no_library() -> None:
    program = "import sys, json; before = set(sys.modules); import shoal; print(json.dumps(sorted(set(sys.modules) - before)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    loaded = json.loads(done.stdout)
    wrong = [name for name in loaded if any((name + ".").startswith(banned + ".") for banned in NOT_LOADED_BY_IMPORT)]
    assert not wrong, f"import shoal also loads {wrong}"


def test_import_of_shoal_loads_only_what_starting_a_node_needs() -> None:
    """Whoever adds a module here adds its time to every start. What ``remote`` needs is loaded while the node starts."""
    program = "import sys, json, shoal; print(json.dumps(sorted(name for name in sys.modules if name.startswith('shoal'))))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(done.stdout) == LOADED_BY_IMPORT


def test_import_and_options_of_init_load_nothing_slow() -> None:
    program = (
        "import sys; before = set(sys.modules); import shoal, shoal.core.native.start;"
        "from shoal.core.init_options import InitOptions; InitOptions.from_keywords(num_cpus=2, logging_level='ERROR');"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {program}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert not SLOW & set(done.stdout.split())


def test_import_of_shoal_costs_at_most_150_ms_of_processor_time() -> None:
    program = "import time; start = time.process_time(); import shoal; print(time.process_time() - start)"
    costs_s = [
        float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True).stdout)
        for _ in range(3)
    ]
    assert min(costs_s) <= 0.15, f"import shoal took {costs_s}"
