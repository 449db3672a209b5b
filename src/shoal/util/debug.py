"""Say a thing once: guards for log lines that would otherwise repeat without end."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable

_FORGET_AFTER_S = 60.0

_lock = threading.Lock()
_logged: set[Hashable] = set()
_disabled = False
_periodic = False
_last_logged_s = 0.0


def log_once(key: Hashable) -> bool:
    """True for the first call with this key in this process, else False.

    After ``disable_log_once_globally()`` always False; after ``enable_periodic_logging()`` the keys are forgotten once
    a minute.

    >>> if log_once("slow-disk"):
    ...     print("the disk is slow")
    the disk is slow
    """
    global _last_logged_s
    with _lock:
        if _disabled:
            return False
        now_s = time.monotonic()
        if _periodic and key in _logged and now_s - _last_logged_s > _FORGET_AFTER_S:
            _logged.clear()
        if key in _logged:
            return False
        _logged.add(key)
        _last_logged_s = now_s
        return True


def disable_log_once_globally() -> None:
    """Makes ``log_once`` return False in this process from now on."""
    global _disabled
    _disabled = True


def enable_periodic_logging() -> None:
    """Lets ``log_once`` return True again for the same key, at most about once a minute."""
    global _periodic
    _periodic = True


def reset_log_once(key: Hashable | None = None) -> None:
    """Forgets one key, or all of them when key is None."""
    with _lock:
        if key is None:
            _logged.clear()
        else:
            _logged.discard(key)
