"""Runtime environments on their way to the workers: JSON text, equal for equal environments, that names a kind of worker."""

from __future__ import annotations

import contextlib
import importlib
import json
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from shoal.core.native.node import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

CAPTURED_GROUP = "captured_placement_group"
"""Key, beside the fields of a runtime environment, of the group (hex) that the worker hands down to what it starts."""
JOB = "job"
"""Key, beside the fields, of what the worker must know of its job: ``namespace``, ``id`` and ``import_path`` unless they are
the node's own, ``code_search_path``, ``logging``."""
LOCAL_FILES = "local_files"
"""Key, beside the fields, of the digests of local files that ``pip`` or ``uv`` name: see ``local_files``."""
SETUP_HOOK = "worker_process_setup_hook"
INTERPRETER_FIELDS = ("pip", "uv", "py_executable")
"""Fields for which workers run under an interpreter of their own, which has to be made or found first."""
SETUP_TIMEOUT_S = 600
FAILED_STATUS = 79
"""Exit status of a worker whose environment could not be set up; what it wrote last is the reason."""

_PICKLED = "pickled:"


class SetupTimeout(Exception):
    """Setting up took longer than ``config["setup_timeout_seconds"]``."""


def encode(fields: dict[str, Any]) -> str:
    """JSON with sorted keys; "" for no fields. A hook that is a function travels as its pickle."""
    if not fields:
        return ""
    hook = fields.get(SETUP_HOOK)
    if callable(hook):
        import base64

        import cloudpickle

        fields = {**fields, SETUP_HOOK: _PICKLED + base64.b64encode(cloudpickle.dumps(hook)).decode()}
    return json.dumps(fields, sort_keys=True, default=str)


def decode(text: str) -> dict[str, Any]:
    return dict(json.loads(text)) if text else {}


def needs_interpreter(text: str) -> bool:
    """Whether workers of the environment are forked by a process of another interpreter than the driver's."""
    fields = decode(text)
    return any(fields.get(name) for name in INTERPRETER_FIELDS)


def failure_prefix() -> str:
    return f"[Node {LOOPBACK}] "


def setup_limit_s(fields: dict[str, Any]) -> float | None:
    """``config["setup_timeout_seconds"]``; None: no limit."""
    limit_s: float = (fields.get("config") or {}).get("setup_timeout_seconds", SETUP_TIMEOUT_S)
    return None if limit_s < 0 else limit_s


def too_slow(limit_s: float) -> str:
    return f"setting up the runtime_env took longer than setup_timeout_seconds={limit_s}"


@contextlib.contextmanager
def setup_limit(fields: dict[str, Any]) -> Iterator[None]:
    """Raises SetupTimeout in the block when it takes longer than ``fields["config"]`` allows. Main thread only."""
    limit_s = setup_limit_s(fields)
    if limit_s is None:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise SetupTimeout(too_slow(limit_s))

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def call_setup_hook(fields: dict[str, Any]) -> None:
    """Calls ``worker_process_setup_hook``, a function or the import path of one. Ends the process when it raises."""
    hook = fields.get(SETUP_HOOK)
    if hook is None:
        return
    try:
        with setup_limit(fields):
            _hook_of(hook)()
    except BaseException:
        print(f"{failure_prefix()}{SETUP_HOOK} failed:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
        raise SystemExit(FAILED_STATUS) from None


def _hook_of(hook: str) -> Any:
    if hook.startswith(_PICKLED):
        import base64
        import pickle

        return pickle.loads(base64.b64decode(hook.removeprefix(_PICKLED)))
    module, _, name = hook.rpartition(".")
    return getattr(importlib.import_module(module), name)
