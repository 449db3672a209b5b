"""Setting up a runtime environment in a worker that was just forked: variables, working folder, import path."""

from __future__ import annotations

import json
import os
import sys

SUPPORTED = ("env_vars", "working_dir", "py_modules")


class EnvironmentFailed(Exception):
    """The environment cannot be set up; ends the worker with EXIT_ENVIRONMENT_FAILED."""


def apply_environment(environment: str, session_folder: str) -> None:
    """``environment``: JSON. Local folders only. Raises EnvironmentFailed, which names what is wrong."""
    fields = json.loads(environment)
    unsupported = sorted(set(fields) - set(SUPPORTED))
    if unsupported:
        raise EnvironmentFailed(f"runtime_env fields {unsupported} are not supported; supported are {list(SUPPORTED)}")
    for name, value in fields.get("env_vars", {}).items():
        os.environ[name] = os.path.expandvars(value)
    for module in fields.get("py_modules", []):
        path = _existing_folder(module, "py_modules")
        # A package's folder is importable by its name, a plain folder by what is in it.
        sys.path.insert(0, os.path.dirname(path) if os.path.exists(os.path.join(path, "__init__.py")) else path)
    if fields.get("working_dir"):
        path = _existing_folder(fields["working_dir"], "working_dir")
        os.chdir(path)
        sys.path.insert(0, path)


def _existing_folder(path: str, field: str) -> str:
    full = os.path.abspath(os.path.expanduser(path))
    if not os.path.isdir(full):
        raise EnvironmentFailed(f"runtime_env {field}={path!r} is no local folder")
    return full
