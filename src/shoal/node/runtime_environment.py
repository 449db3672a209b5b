"""Setting up a runtime environment in a worker that was just forked: variables, working folder, import path."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

from shoal.core.native import environments
from shoal.node.exit_status import EXIT_ENVIRONMENT_FAILED
from shoal.node.packages import Packages, UnusablePackage

SUPPORTED = (
    "env_vars",
    "working_dir",
    "py_modules",
    "excludes",
    "config",
    environments.SETUP_HOOK,
    *environments.INTERPRETER_FIELDS,  # this process runs under their interpreter already
)
FOLDER = "runtime_environments"


def apply_environment(environment: str, session_folder: str) -> None:
    """``environment``: as ``environments.encode`` makes it. The setup hook is left to the worker, which has an engine by then.

    What can't be set up ends the process with EXIT_ENVIRONMENT_FAILED; its last output says what is wrong."""
    fields = environments.decode(environment)
    for key in (environments.CAPTURED_GROUP, environments.JOB, environments.LOCAL_FILES):
        fields.pop(key, None)
    unsupported = sorted(set(fields) - set(SUPPORTED))
    if unsupported:
        _fail(f"the fields {unsupported} of runtime_env are not supported; supported are {list(SUPPORTED)}")
    if (fields.get("config") or {}).get("log_files"):
        _fail("config['log_files'] of runtime_env is not supported: the log of the set-up is in the session's folder of logs")
    try:
        with environments.setup_limit(fields):
            _set_up(fields, Packages(os.path.join(session_folder, FOLDER)))
    except (UnusablePackage, environments.SetupTimeout, OSError) as error:
        _fail(f"{error}")


def _set_up(fields: dict[str, Any], packages: Packages) -> None:
    for name, value in fields.get("env_vars", {}).items():
        os.environ[name] = os.path.expandvars(value)
    excludes = fields.get("excludes") or []
    for module in fields.get("py_modules", []):
        path = packages.folder_of(module, "py_modules", excludes)
        # A package's folder is importable by its name, a plain folder by what is in it.
        sys.path.insert(0, os.path.dirname(path) if os.path.exists(os.path.join(path, "__init__.py")) else path)
    if fields.get("working_dir"):
        path = packages.folder_of(fields["working_dir"], "working_dir", excludes)
        os.chdir(path)
        sys.path.insert(0, path)


def _fail(reason: str) -> NoReturn:
    print(f"{environments.failure_prefix()}{reason}", file=sys.stderr, flush=True)
    raise SystemExit(EXIT_ENVIRONMENT_FAILED)
