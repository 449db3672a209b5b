"""The house rules that a machine can see. Each message says where, and what to do instead."""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import re
import tokenize
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PYTHON_FOLDERS = ("src", "tests", "examples", "benchmarks", "tools")
TEXT_SUFFIXES = {".py", ".pyi", ".md", ".toml", ".cpp", ".h", ".txt", ".cfg", ".yml", ".yaml"}
NOT_OURS = {".git", ".venv", "build", "dist", "environments", "__pycache__"}

FUNCTION_LINES = 70
FILE_LINES = 900
INTERRUPTED_SLEEP_S = 10
BANNED_MODULE_NAMES = {"utils", "common", "misc", "helper", "stuff"}
# Put together here, so that this file does not hold what it looks for.
LEFTOVERS = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
MACHINE_PATHS = re.compile(r"(?<![\w.~])/(wo" + r"rk|fa" + r"rm|opt/en" + r"vs|ro" + r"ot|ho" + r"me/\w+)/|\.lib" + r"rary/")
DOCUMENTED_MODULES = ("shoal", "shoal.exceptions", "shoal.util", "shoal.tune", "shoal.as_ray")


def files(*suffixes: str, below: tuple[str, ...] = (".",)) -> list[Path]:
    found = [path for folder in below for path in (ROOT / folder).rglob("*") if path.suffix in suffixes and path.is_file()]
    return sorted(path for path in found if not NOT_OURS & set(path.relative_to(ROOT).parts))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def python_nodes(*kinds: type[ast.AST], below: tuple[str, ...] = PYTHON_FOLDERS) -> Iterator[tuple[Path, ast.AST]]:
    for path in files(".py", below=below):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, kinds):
                yield path.relative_to(ROOT), node


def complain(rows: list[str]) -> None:
    assert not rows, "\n" + "\n".join(rows)


def test_functions_can_be_read_without_scrolling() -> None:
    rows = []
    for path, node in python_nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        docstring = ast.get_docstring(node, clean=False) or ""
        # The signature of a public function may be long: it is a table.
        lines = node.end_lineno - node.body[0].lineno + 1 - len(docstring.splitlines())
        if lines > FUNCTION_LINES:
            rows.append(
                f"{path}:{node.lineno}: {node.name} has {lines} lines; split it by idea, {FUNCTION_LINES} are the limit"
            )
    complain(rows)


def test_files_are_about_one_thing() -> None:
    rows = []
    for path in files(".py", ".pyi", ".cpp", ".h", below=("src", "tests", "examples", "benchmarks", "tools")):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > FILE_LINES:
            rows.append(f"{path.relative_to(ROOT)} has {lines} lines; {FILE_LINES} are the limit")
    complain(rows)


def test_no_error_is_swallowed_without_a_word() -> None:
    rows = []
    for path, node in python_nodes(ast.ExceptHandler):
        silent = all(isinstance(line, ast.Pass) or _is_ellipsis(line) for line in node.body)
        if silent:
            rows.append(
                f"{path}:{node.lineno}: the handler does nothing; handle it, or say contextlib.suppress with the exact type"
            )
    for path, node in python_nodes(ast.Call, below=("src",)):
        if isinstance(node.func, ast.Attribute) and node.func.attr == "suppress":
            broad = [arg.id for arg in node.args if isinstance(arg, ast.Name) and arg.id in ("Exception", "BaseException")]
            rows += [f"{path}:{node.lineno}: suppress({name}) hides every defect; name the exact type" for name in broad]
    complain(rows)


def _is_ellipsis(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and line.value.value is ...


def test_no_notes_to_self_and_no_paths_of_one_machine() -> None:
    rows = []
    for path in [*files(*TEXT_SUFFIXES), ROOT / "Makefile", ROOT / ".ci" / "run"]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if LEFTOVERS.search(line):
                rows.append(f"{path.relative_to(ROOT)}:{number}: finish it or file it: {line.strip()[:90]}")
            if MACHINE_PATHS.search(line):
                rows.append(f"{path.relative_to(ROOT)}:{number}: a path of one machine: {line.strip()[:90]}")
    complain(rows)


def test_modules_have_names_that_say_something() -> None:
    complain([f"{path.relative_to(ROOT)}: name it after its idea" for path in files(".py") if path.stem in BANNED_MODULE_NAMES])


def test_every_module_says_what_it_is_about() -> None:
    silent = [
        path for path in files(".py", below=("src", "examples", "benchmarks", "tools")) if not ast.get_docstring(tree_of(path))
    ]
    complain([f"{path.relative_to(ROOT)}: begins without a docstring" for path in silent])


@pytest.mark.parametrize("name", DOCUMENTED_MODULES)
def test_exported_names_are_documented(name: str) -> None:
    module = importlib.import_module(name)
    rows = []
    for exported in getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]:
        value = getattr(module, exported)
        if not (inspect.isclass(value) or inspect.isfunction(value)) or not str(value.__module__).startswith("shoal"):
            continue
        text = value.__dict__.get("__doc__") if inspect.isclass(value) else value.__doc__
        # A dataclass without a docstring gets its signature as one.
        if not text or text.startswith(f"{value.__name__}("):
            rows.append(f"{name}.{exported}: has no docstring; say what a caller must know")
    complain(rows)


def test_tests_wait_for_events_not_for_time() -> None:
    """A sleep in a test says in a comment, on its line or the one above, why no event will do.

    A long one stands for work that the test interrupts and needs no comment."""
    rows = []
    for path, node in python_nodes(ast.Call, below=("tests",)):
        if ast.unparse(node.func) not in ("time.sleep", "sleep"):
            continue
        if node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value >= INTERRUPTED_SLEEP_S:
            continue
        if not {node.lineno, node.lineno - 1} & _comment_lines(path):
            rows.append(f"{path}:{node.lineno}: wait for an event, or say in a comment why there is none")
    complain(rows)


@cache
def _comment_lines(path: Path) -> set[int]:
    tokens = tokenize.generate_tokens(io.StringIO((ROOT / path).read_text(encoding="utf-8")).readline)
    return {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
