"""Breakpoints in tasks and actors for editors that speak to debugpy (VS Code and others)."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

__all__ = ["set_trace"]

_lock = threading.Lock()
_endpoint: tuple[str, int] | None = None


def set_trace(breakpoint_uuid: str | None = None) -> None:
    """Stops here once an editor is attached; the address to attach to is printed when the process first listens.

    Listens on the loopback interface only. ``breakpoint()`` is left as it is. Raises ImportError when debugpy is not installed,
    NotImplementedError for ``breakpoint_uuid``, which is for Ray's own extension of VS Code.
    """
    if breakpoint_uuid is not None:
        raise NotImplementedError(f"set_trace() does not support breakpoint_uuid, but got breakpoint_uuid={breakpoint_uuid!r}")
    debugpy = _import_debugpy()
    hook = sys.breakpointhook
    host, port = _listen(debugpy)
    try:
        print(f"process {os.getpid()} waits for a debugger at {host}:{port}", file=sys.stderr, flush=True)
        debugpy.wait_for_client()
    finally:
        # debugpy puts its own hook in the place of the user's.
        sys.breakpointhook = hook
    debugpy.breakpoint()


def _import_debugpy() -> Any:
    try:
        import debugpy  # type: ignore[import-not-found,unused-ignore]  # noqa: T100  optional, and slow to import
    except ImportError as error:
        raise ImportError("shoal.util.ray_debugpy needs debugpy: pip install debugpy") from error
    return debugpy


def _listen(debugpy: Any) -> tuple[str, int]:
    global _endpoint
    with _lock:
        if _endpoint is None:
            _endpoint = debugpy.listen(("127.0.0.1", 0))
        return _endpoint
