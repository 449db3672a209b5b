from __future__ import annotations

import subprocess
import sys

from shoal.core.native import first_hooks, hooks


def test_there_is_one_for_each_hook() -> None:
    assert set(first_hooks.NAMES) == set(hooks.all_hooks())


def test_the_first_question_of_the_kernel_loads_the_answers() -> None:
    program = """
import sys, shoal
print("shoal.core.native.hooks" in sys.modules)
try:
    shoal.get("no reference")
except ValueError as error:
    print("Invalid type of object refs" in str(error))
print("shoal.core.native.hooks" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == ["False", "True", "True"]
