"""Run by the interpreter that ``py_executable`` names: writes what it is into the file given as the only argument. Imports
nothing but Python's own."""

import importlib.util
import json
import sys

NEEDED = ("shoal", "cloudpickle", "msgspec")

if __name__ == "__main__":
    del sys.path[0]  # this folder: not part of anybody's import path
    facts = {
        "executable": sys.executable,
        "implementation": sys.implementation.name,
        "version": list(sys.version_info[:3]),
        "missing": [name for name in NEEDED if importlib.util.find_spec(name) is None],
    }
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(facts, file)
