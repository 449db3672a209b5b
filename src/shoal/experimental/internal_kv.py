"""Key-value storage of the cluster: bytes under keys, in namespaces.

Keys and values may be given as str; they come back as bytes. All functions raise RaySystemError without a session.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import shoal
from shoal.util._control_plane import require_engine

Text: TypeAlias = "str | bytes"


def _internal_kv_initialized() -> bool:
    """Whether there is a session, and with it a storage."""
    return shoal.is_initialized()


def _internal_kv_get(key: Text, *, namespace: Text | None = None) -> bytes | None:
    """The value; None when there is no such key."""
    value: bytes | None = _ask("kv_get", namespace, key=_as_bytes("key", key))
    return value


def _internal_kv_exists(key: Text, *, namespace: Text | None = None) -> bool:
    return bool(_ask("kv_exists", namespace, key=_as_bytes("key", key)))


def _internal_kv_put(key: Text, value: Text, overwrite: bool = True, *, namespace: Text | None = None) -> bool:
    """Stores a value. Returns whether the key existed already; then it is replaced only with ``overwrite``."""
    fields = {"key": _as_bytes("key", key), "value": _as_bytes("value", value), "overwrite": overwrite}
    return bool(_ask("kv_put", namespace, **fields))


def _internal_kv_del(key: Text, *, del_by_prefix: bool = False, namespace: Text | None = None) -> int:
    """Deletes a key, or all that start with it; returns how many there were."""
    return int(_ask("kv_delete", namespace, key=_as_bytes("key", key), by_prefix=del_by_prefix))


def _internal_kv_list(prefix: Text, *, namespace: Text | None = None) -> list[bytes]:
    """The keys that start with ``prefix``."""
    return [bytes(key) for key in _ask("kv_list", namespace, prefix=_as_bytes("prefix", prefix))]


def _ask(kind: str, namespace: Text | None, **fields: Any) -> Any:
    return require_engine().request(kind, namespace=_as_bytes("namespace", namespace or b""), **fields)


def _as_bytes(name: str, value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, bytes):
        raise TypeError(f"{name} must be str or bytes, but got {name}={value!r}")
    return value
